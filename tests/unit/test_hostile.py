"""A system tree that somebody else made: nothing outside of it is touched, nothing hangs, nothing is believed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    signal.alarm(20)
    yield
    signal.alarm(0)


def _refused(host: Any, code: int = 1) -> str:
    done = host.install("--profile", "graceful")
    assert done.code == code, done.err
    assert len(done.err.splitlines()) == 2, done.err
    return str(done.err)


@pytest.mark.parametrize("path", ["etc/lvg", "var/lib/lvg", "etc/systemd/system", "usr/local/bin", "etc/default"])
@pytest.mark.parametrize("kind", ["climbing", "absolute"])
def test_a_link_out_of_the_tree_leads_nowhere(debian: Any, tmp_path: Path, path: str, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place = debian.root / path
    if place.is_dir():
        place.rename(place.with_name("moved"))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside if kind == "absolute" else os.path.relpath(outside, place.parent))
    debian.install("--profile", "graceful")
    assert list(outside.iterdir()) == []


def test_a_link_to_itself_is_an_error(debian: Any) -> None:
    debian.config.unlink()
    debian.config.symlink_to("libvirt-guests")
    assert "symbolic links" in _refused(debian)


def _no_ordinary_file(place: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "loop":
        place.symlink_to(place.name)
    else:
        with place.open("wb") as sparse:
            sparse.truncate(1 << 33)


@pytest.mark.parametrize("path", ["etc/default/libvirt-guests", "etc/os-release", "usr/local/bin/stopvm"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "huge"])
def test_what_is_no_ordinary_file_is_an_error_not_a_hang(debian: Any, path: str, kind: str) -> None:
    place = debian.root / path
    place.unlink(missing_ok=True)
    _no_ordinary_file(place, kind)
    done = debian.install("--profile", "graceful")
    assert done.code in (1, 4, 7), done.err
    assert len(done.err.splitlines()) == 2, done.err
    assert "unexpected" not in done.err


def test_terminal_escapes_are_shown_not_sent(debian: Any) -> None:
    debian.put("/etc/os-release", 'ID=debian\nNAME="\x1b[2J\x1b]0;owned\x07Debian"\n')
    debian.config.write_bytes(b"# \x1b[2J\nON_SHUTDOWN=suspend\n")
    for done in (debian.install("--profile", "graceful", "--dry-run"), debian.run("lvg", "detect")):
        assert "\x1b" not in done.out + done.err
        assert "\x07" not in done.out + done.err


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 99}', ""])
def test_a_damaged_record_is_an_error_and_remove_still_works(debian: Any, text: str) -> None:
    before = debian.config.read_bytes()
    debian.install("--profile", "graceful")
    debian.put("/var/lib/lvg/applied.json", text, 0o600)
    assert "applied.json" in _refused(debian)
    assert debian.run("lvg", "status").code == 1
    assert debian.run("lvg", "remove", "--force").code == 0
    assert debian.config.read_bytes() == before


OURS = (
    "etc/lvg/policy.json",
    "etc/systemd/system/graceful-shutdown.service",
    "var/lib/lvg/applied.json",
    "var/lib/lvg/lock",
    "var/lib/lvg/checkpoints/0001/manifest.json",
    "var/lib/lvg/checkpoints/0001/0",
)


@pytest.mark.parametrize("path", OURS)
@pytest.mark.parametrize("kind", ["fifo", "folder", "loop"])
def test_what_is_no_file_in_the_place_of_one_of_ours_is_never_waited_for(debian: Any, path: str, kind: str) -> None:
    debian.install("--profile", "graceful")
    place = debian.root / path
    place.unlink(missing_ok=True)
    _no_ordinary_file(place, kind)
    for command, *words in (["lvg", "status"], ["lvg-install", "--profile", "ups"], ["lvg", "remove"]):
        done = debian.run(command, *words)
        assert done.code in (0, 1, 3, 4), done.err
        assert "unexpected" not in done.err
        assert place.is_symlink() == (kind == "loop") or done.code == 0, "what is not ours stays"


@pytest.mark.parametrize("path", ["var/lib/lvg/applied.json", "var/lib/lvg/checkpoints/0001/manifest.json"])
def test_what_is_nested_too_deep_is_damaged(debian: Any, path: str) -> None:
    debian.install("--profile", "graceful")
    debian.put(path, "[" * 100_000, 0o600)
    assert "RecursionError" in _refused(debian)


@pytest.mark.parametrize("text", ["{", '{"schema": 1}', "[]"])
def test_a_damaged_checkpoint_is_an_error_and_nothing_is_guessed(debian: Any, text: str) -> None:
    debian.install("--profile", "graceful")
    debian.put("/var/lib/lvg/checkpoints/0001/manifest.json", text, 0o600)
    before = debian.tree()
    for verb in ("remove", "rollback", "status"):
        done = debian.run("lvg", verb)
        assert (done.code, debian.tree()) == (1, before)
        assert "checkpoint" in done.err


def test_a_saved_copy_that_was_changed_is_not_put_back(debian: Any) -> None:
    debian.install("--profile", "graceful")
    debian.put("/var/lib/lvg/checkpoints/0001/0", "ON_SHUTDOWN=suspend\n", 0o600)
    done = debian.run("lvg", "remove", "--force")
    assert done.code == 1
    assert "damaged" in done.err
