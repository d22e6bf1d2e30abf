"""Apply, status, rollback, remove, as a user meets them on a fake Debian host."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WANTED = {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown", "PARALLEL_SHUTDOWN": "100", "SHUTDOWN_TIMEOUT": "240"}


def sourced(path: Any) -> dict[str, str]:
    """Return what sh makes of the four keys in a file."""
    script = '. "$1"; for k in ON_BOOT ON_SHUTDOWN PARALLEL_SHUTDOWN SHUTDOWN_TIMEOUT; do eval "echo $k=\\$$k"; done'
    done = subprocess.run(["/bin/sh", "-c", script, "sh", str(path)], capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_apply_sets_the_host_up_and_status_agrees(debian: Any) -> None:
    done = debian.install("--profile", "graceful")
    assert done.code == 0, done.err
    assert sourced(debian.config) == WANTED
    assert (debian.root / "usr/local/bin/stopvm").stat().st_mode & 0o777 == 0o755
    assert (debian.root / "etc/lvg/policy.json").stat().st_mode & 0o777 == 0o600
    wants = debian.root / "etc/systemd/system/multi-user.target.wants"
    assert sorted(link.name for link in wants.iterdir()) == [
        "graceful-restore.service",
        "graceful-shutdown.service",
        "libvirt-guests.service",
    ]
    assert "At the next shutdown" in done.out
    assert debian.run("lvg", "status").code == 0


def test_a_second_run_changes_nothing_and_says_so(debian: Any) -> None:
    debian.install("--profile", "graceful")
    before = debian.tree()
    done = debian.install("--profile", "graceful")
    assert (done.code, debian.tree()) == (0, before)
    assert "nothing to do" in done.out


@pytest.mark.parametrize("word", ["--quiet", "--json", "--verbose", "--force"])
def test_how_it_is_said_is_no_new_wish(debian: Any, word: str) -> None:
    debian.install("--profile", "graceful")
    before = debian.tree()
    assert debian.install("--profile", "graceful", word).code == 0
    assert debian.tree() == before
    debian.install("--profile", "suspend", word)
    assert word not in debian.run("lvg", "status").out or word == "--force"


def test_dry_run_shows_everything_and_changes_nothing(debian: Any) -> None:
    before = debian.tree()
    done = debian.install("--profile", "graceful", "--dry-run")
    assert (done.code, debian.tree()) == (0, before)
    assert "+ON_SHUTDOWN=shutdown" in done.out
    assert "+++ b/etc/systemd/system/graceful-shutdown.service" in done.out
    assert "enable   libvirt-guests" in done.out


def test_remove_gives_every_byte_back(debian: Any) -> None:
    before = debian.tree()
    debian.install("--profile", "graceful")
    debian.install("--profile", "suspend")
    assert debian.run("lvg", "remove").code == 0
    assert debian.tree() == before


def test_rollback_undoes_one_apply_at_a_time(debian: Any) -> None:
    first = debian.tree()
    debian.install("--profile", "graceful")
    second = {k: v for k, v in debian.tree().items() if not k.startswith("var/lib/lvg")}
    debian.install("--profile", "suspend")
    assert debian.run("lvg", "rollback").code == 0
    assert {k: v for k, v in debian.tree().items() if not k.startswith("var/lib/lvg")} == second
    assert debian.run("lvg", "status").code == 0
    assert debian.run("lvg", "rollback").code == 0
    assert debian.tree() == first
    assert debian.run("lvg", "rollback").code == 6


def test_a_dropped_set_goes_away_again(debian: Any) -> None:
    debian.install("--profile", "graceful", "--set", "START_DELAY=7")
    assert "START_DELAY=7" in debian.config.read_text()
    debian.install("--profile", "graceful")
    assert "START_DELAY" not in debian.config.read_text()


def test_the_admins_value_is_replaced_and_reported_and_comes_back(fake_host: Callable[..., Any]) -> None:
    host = fake_host(text="ON_SHUTDOWN=suspend # mine\nURIS=qemu:///system\n")
    done = host.install("--profile", "graceful")
    assert "ON_SHUTDOWN was suspend" in done.err
    assert sourced(host.config) == WANTED
    assert "URIS=qemu:///system" in host.config.read_text()
    host.run("lvg", "remove")
    assert host.config.read_text() == "ON_SHUTDOWN=suspend # mine\nURIS=qemu:///system\n"


def test_edited_since_is_refused_with_a_diff_and_forced(debian: Any) -> None:
    debian.install("--profile", "graceful")
    debian.config.write_text(debian.config.read_text().replace("ON_SHUTDOWN=shutdown", "ON_SHUTDOWN=suspend"))
    assert debian.run("lvg", "status").code == 3
    before = debian.tree()
    done = debian.install("--profile", "graceful")
    assert (done.code, debian.tree()) == (4, before)
    assert "+ON_SHUTDOWN=suspend" in done.err
    assert debian.install("--profile", "graceful", "--force").code == 0
    assert sourced(debian.config) == WANTED
    assert debian.run("lvg", "status").code == 0


def test_an_edit_that_a_forced_run_met_survives_later_runs(debian: Any) -> None:
    debian.install("--profile", "graceful", "--set", "START_DELAY=7")
    debian.config.write_text(debian.config.read_text() + "# a note of the admin\nSYNC_TIME=1\n")
    assert debian.install("--profile", "graceful", "--force").code == 0
    assert debian.install("--profile", "suspend").code == 0
    text = debian.config.read_text()
    assert "# a note of the admin\nSYNC_TIME=1\n" in text
    assert "START_DELAY=7" not in text.splitlines()


def test_remove_and_rollback_refuse_to_lose_an_edit(debian: Any) -> None:
    debian.install("--profile", "graceful")
    debian.config.write_text(debian.config.read_text() + "# mine\n")
    before = debian.tree()
    for verb in ("remove", "rollback"):
        done = debian.run("lvg", verb)
        assert (done.code, debian.tree()) == (4, before)
        assert "-# mine" in done.err
    assert debian.run("lvg", "remove", "--force").code == 0
    assert "# mine" not in debian.config.read_text()


def test_remove_works_when_the_config_is_broken(debian: Any) -> None:
    original = debian.config.read_bytes()
    debian.install("--profile", "graceful")
    debian.config.write_text("ON_BOOT='broken\n")
    assert debian.install("--profile", "graceful", "--force").code == 1
    assert debian.run("lvg", "remove", "--force").code == 0
    assert debian.config.read_bytes() == original


def test_profiles_and_history_outlive_remove(debian: Any) -> None:
    debian.install("--profile", "graceful")
    mine = debian.put("/etc/lvg/profiles/mine.toml", 'summary = "mine"\nextends = "graceful"\n')
    history = debian.put("/var/lib/lvg/history/one.json", "{}")
    assert debian.run("lvg", "remove").code == 0
    assert mine.exists()
    assert history.exists()
    assert not (debian.root / "var/lib/lvg/checkpoints").exists()


def test_keep_leaves_what_the_admin_set(fake_host: Callable[..., Any]) -> None:
    host = fake_host(text="ON_SHUTDOWN=suspend\n")
    done = host.install("--profile", "graceful", "--keep")
    assert done.code == 0, done.err
    assert sourced(host.config) == {**WANTED, "ON_SHUTDOWN": "suspend"}
    policy = json.loads((host.root / "etc/lvg/policy.json").read_text())
    assert (policy["action"], policy["boot"]) == ("none", "ignore")
    assert "ON_SHUTDOWN" in done.err
    host.config.write_text(host.config.read_text().replace("suspend", "shutdown"))
    assert host.run("lvg", "status").code == 0, "a kept key is not ours, and no drift"


def test_no_file_is_created_where_none_was_and_goes_again(fake_host: Callable[..., Any]) -> None:
    host = fake_host(text=None)
    before = host.tree()
    assert host.install("--profile", "graceful").code == 0
    assert sourced(host.config) == WANTED
    assert host.config.stat().st_mode & 0o777 == 0o644
    assert host.config.read_text().startswith("# Installed by lvg-install")
    host.run("lvg", "remove")
    assert host.tree() == before


def test_a_symlinked_config_is_followed_not_replaced(debian: Any) -> None:
    real = debian.put("/srv/guests.conf", debian.config.read_bytes(), 0o640)
    debian.config.unlink()
    debian.config.symlink_to("/srv/guests.conf")
    owner = (12, 34) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(real, *owner)
    assert debian.install("--profile", "graceful").code == 0
    assert debian.config.is_symlink()
    assert sourced(real) == WANTED
    found = real.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, *owner)


def test_extended_attributes_are_kept(debian: Any) -> None:
    os.setxattr(debian.config, "user.note", b"mine")
    debian.install("--profile", "graceful")
    assert os.getxattr(debian.config, "user.note") == b"mine"
    debian.run("lvg", "remove")
    assert os.getxattr(debian.config, "user.note") == b"mine"


@pytest.mark.parametrize(
    ("link", "words"), [("/etc/nowhere", "dangling"), ("../../../../../../etc/hostname", "leaves the root")]
)
def test_a_bad_link_is_refused(debian: Any, link: str, words: str) -> None:
    debian.config.unlink()
    debian.config.symlink_to(link)
    before = debian.tree()
    done = debian.install("--profile", "graceful")
    assert (done.code, debian.tree()) == (1, before)
    assert words in done.err
    assert len(done.err.splitlines()) == 2


def test_json_of_a_run_is_kept_to_the_letter(debian: Any) -> None:
    for words, dry in (("--dry-run",), True), ((), False):
        done = debian.install("--profile", "graceful", "--json", *words)
        document = json.loads(done.out)
        assert document["schema"] == 1
        assert (document["changed"], document["dry_run"], document["profile"]) == (True, dry, "graceful")
        assert document["delivery"] == "edit"
        assert {change["action"] for change in document["changes"]} == {"write", "enable"}
        assert all({"action", "reason", "diff"} <= change.keys() for change in document["changes"])
        assert all("path" in change or "unit" in change for change in document["changes"])
        assert (document["conflicts"], document["warnings"]) == ([], [])
        assert document["checkpoint"] == ("" if dry else "0001")
    status = json.loads(debian.run("lvg", "status", "--json").out)
    assert (status["schema"], status["state"], status["last_shutdown"]) == (1, "ok", None)
    assert {"what", "expected", "found", "state"} <= status["rows"][0].keys()


def test_status_where_nothing_is_applied(debian: Any) -> None:
    done = debian.run("lvg", "status", "--json")
    assert (done.code, json.loads(done.out)["state"]) == (6, "none")
    assert debian.run("lvg", "remove").code == 6


@pytest.mark.parametrize("again", [False, True], ids=["undone", "applied again, then undone"])
def test_what_went_with_the_package_is_no_edit(debian: Any, again: bool) -> None:
    before = debian.tree()
    debian.install("--profile", "graceful")
    there = set(debian.tree())
    script = Path(__file__).resolve().parents[2] / "pkg/before-removal"
    subprocess.run([script], env={"DPKG_ROOT": str(debian.root), "PATH": os.defpath}, check=True)
    assert {Path(name).name for name in there - set(debian.tree()) if ".d/" in name} == {"50-lvg.conf"}
    if again:
        assert debian.install("--profile", "graceful").code == 0
        assert debian.run("lvg", "status").code == 0
    done = debian.run("lvg", "remove")
    assert done.code == 0, done.err
    assert debian.tree() == before
