"""What an admin writes into the settings file between runs is never lost without a word."""

from collections.abc import Callable
from typing import Any

import pytest

FULL = "# my host\nURIS='qemu:///system lxc:///'\nON_BOOT=ignore\nON_SHUTDOWN=shutdown\nPARALLEL_SHUTDOWN=100\n"
FULL += "SHUTDOWN_TIMEOUT=240\n"


def _ok(host: Any, *words: str) -> None:
    done = host.install(*words)
    assert done.code == 0, done.err
    assert host.run("lvg", "status").code == 0


def _again(host: Any, *words: str) -> None:
    """Run it twice more: nothing changes, and it says so."""
    before = host.tree()
    for _ in range(2):
        done = host.install(*words)
        assert (done.code, host.tree()) == (0, before), done.err
        assert "nothing to do" in done.out


@pytest.mark.parametrize("words", [(), ("--keep",), ("--overlay",)])
def test_a_file_that_is_as_wished_already_stays_the_admins(fake_host: Callable[..., Any], words: tuple[str]) -> None:
    host = fake_host(text=FULL)
    _ok(host, "--profile", "graceful", *words)
    _again(host, "--profile", "graceful", *words)
    assert host.config.read_text() == FULL
    assert host.run("lvg", "remove").code == 0
    assert host.config.read_text() == FULL


def test_a_forced_edit_is_still_there_after_ordinary_runs(debian: Any) -> None:
    debian.install("--profile", "graceful")
    with debian.config.open("a") as file:
        file.write("# admin\n")
    assert debian.install("--profile", "graceful").code == 4
    _ok(debian, "--profile", "graceful", "--force")
    _again(debian, "--profile", "graceful")
    _ok(debian, "--profile", "suspend")
    assert "# admin\n" in debian.config.read_text()


def test_what_keep_has_kept_stays_kept(debian: Any) -> None:
    debian.install("--profile", "graceful")
    text = debian.config.read_text().replace("SHUTDOWN_TIMEOUT=240", "SHUTDOWN_TIMEOUT=500") + "# mine\n"
    debian.config.write_text(text)
    _ok(debian, "--profile", "graceful", "--keep")
    _again(debian, "--profile", "graceful", "--keep")
    assert debian.config.read_text() == text


@pytest.mark.parametrize("word", ["--keep", "--force"])
def test_from_edit_to_overlay_with_an_edit_in_between(debian: Any, word: str) -> None:
    debian.install("--profile", "graceful")
    with debian.config.open("a") as file:
        file.write("# mine\n")
    _ok(debian, "--profile", "graceful", word, "--overlay")
    assert debian.config.read_text().endswith("# mine\n")
    assert "ON_SHUTDOWN=shutdown" not in debian.config.read_text().splitlines()
    assert "# mine\n" in (debian.root / "etc/lvg/libvirt-guests").read_text()
    _again(debian, "--profile", "graceful", "--overlay")


def test_a_new_profile_with_keep_does_not_take_the_old_one_for_the_admins(debian: Any) -> None:
    debian.install("--profile", "graceful")
    debian.config.write_text("# mark\n" + debian.config.read_text())
    _ok(debian, "--profile", "suspend", "--keep")
    _again(debian, "--profile", "suspend", "--keep")
    lines = debian.config.read_text().splitlines()
    assert "ON_SHUTDOWN=suspend" in lines
    assert "ON_BOOT=start" in lines


def test_a_config_that_became_a_link_is_followed(debian: Any) -> None:
    debian.install("--profile", "graceful")
    moved = debian.config.with_name("lg.conf")
    debian.config.rename(moved)
    debian.config.symlink_to("lg.conf")
    assert debian.run("lvg", "status").code == 3
    _ok(debian, "--profile", "graceful")
    assert debian.config.is_symlink()
    assert "ON_SHUTDOWN=shutdown" in moved.read_text().splitlines()


def test_status_sees_that_another_file_counts_now(debian: Any) -> None:
    debian.install("--profile", "graceful")
    for path in ("usr/lib/libvirt/libvirt-guests.sh", "usr/lib/systemd/system/libvirt-guests.service"):
        file = debian.root / path
        file.write_text(file.read_text().replace("/etc/default/", "/etc/sysconfig/"))
    done = debian.run("lvg", "status")
    assert done.code == 3
    assert "/etc/sysconfig/libvirt-guests" in done.out


@pytest.mark.parametrize(("path", "mode"), [("usr/local/bin/stopvm", 0o600), ("etc/lvg/policy.json", 0o666)])
def test_status_sees_a_wrong_mode(debian: Any, path: str, mode: int) -> None:
    debian.install("--profile", "graceful")
    (debian.root / path).chmod(mode)
    done = debian.run("lvg", "status")
    assert done.code == 3
    assert f"{mode:04o}" in done.out
    _ok(debian, "--profile", "graceful")


def test_an_edited_file_that_remove_was_forced_over_is_kept(debian: Any) -> None:
    debian.install("--profile", "graceful")
    with debian.config.open("a") as file:
        file.write("FOO=precious\n")
    done = debian.run("lvg", "remove", "--force")
    assert done.code == 0, done.err
    (kept,) = (debian.root / "var/lib/lvg/replaced").iterdir()
    assert "FOO=precious" in kept.read_text()
    assert kept.name in done.out


def test_a_file_that_a_purge_took_away_is_not_brought_back(debian: Any) -> None:
    debian.install("--profile", "graceful")
    debian.config.unlink()
    done = debian.run("lvg", "remove")
    assert done.code == 0, done.err
    assert not debian.config.exists()
