"""What puts files back, and what keeps it from doing so."""

import errno
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lvg import filestate, locking, recovery
from lvg.checkpoint import Checkpoint, Entry, save
from lvg.errors import LvgError, RefusedError
from lvg.files import Root
from lvg.filestate import capture, file_state
from lvg.locking import exclusive

FILE, FOLDER = "/etc/x", "/var/lib/lvg/checkpoints"
OLD, NEW = file_state(b"old\n"), file_state(b"new\n")


def cut_off(tmp_path: Path, now: bytes) -> Root:
    """A host on which a run was killed that had changed a file; the file has these bytes now."""
    root = Root(tmp_path)
    (tmp_path / FOLDER.lstrip("/")).mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/x").write_bytes(now)
    save(root, Checkpoint("0001", "open", "yesterday", (), (Entry(FILE, OLD, NEW.digest),), ()))
    return root


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("now", [b"old\n", b"new\n"])
def test_a_run_that_was_cut_off_is_undone(tmp_path: Path, now: bytes, force: bool) -> None:
    said = recovery.recover(cut_off(tmp_path, now), force=force)
    assert said == ("a run of yesterday had been cut off; what it had changed was put back",)
    assert (tmp_path / "etc/x").read_bytes() == b"old\n"
    assert not (tmp_path / FOLDER.lstrip("/")).exists()


def test_an_edit_after_the_cut_is_not_lost_unless_forced(tmp_path: Path) -> None:
    root = cut_off(tmp_path, b"mine\n")
    with pytest.raises(RefusedError, match="/etc/x was edited after a run of lvg was cut off"):
        recovery.recover(root, force=False)
    assert (tmp_path / "etc/x").read_bytes() == b"mine\n"
    recovery.recover(root, force=True)
    assert (tmp_path / "etc/x").read_bytes() == b"old\n"


def test_what_cannot_be_undone_is_named_and_stays_on_record(tmp_path: Path) -> None:
    root = cut_off(tmp_path, b"new\n")
    (tmp_path / "etc/x").unlink()
    (tmp_path / "etc/x").mkdir()
    with pytest.raises(LvgError, match="/etc/x is not a regular file"):
        recovery.recover(root, force=True)
    (tmp_path / "etc/x").rmdir()
    recovery.recover(root, force=True)
    assert (tmp_path / "etc/x").read_bytes() == b"old\n"


def test_a_checkpoint_that_cannot_be_cleared_says_so(tmp_path: Path) -> None:
    root = cut_off(tmp_path, b"old\n")
    full = OSError(errno.EIO, "Input/output error")
    with (
        mock.patch.object(recovery, "delete", side_effect=full),
        pytest.raises(LvgError, match=r"what a run left in .* cannot be cleared: .*Input/output error"),
    ):
        recovery.recover(root, force=False)


def test_a_file_that_cannot_be_read_is_an_error_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    for reader in (lambda: capture(path), lambda: Root(tmp_path).read("/x")):
        with (
            mock.patch.object(Path, "read_bytes", side_effect=PermissionError(errno.EACCES, "Permission denied")),
            pytest.raises(LvgError, match="x cannot be read: Permission denied"),
        ):
            reader()


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EPERM, errno.ENODATA])
def test_a_file_system_without_attributes_has_none(tmp_path: Path, number: int) -> None:
    (tmp_path / "x").write_bytes(b"data")
    with mock.patch.object(os, "listxattr", side_effect=OSError(number, "none here")):
        found = capture(tmp_path / "x")
    assert (found.data, found.meta.xattrs) == (b"data", ())


def test_attributes_that_cannot_be_read_are_not_lost_in_silence(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with (
        mock.patch.object(os, "listxattr", side_effect=OSError(errno.EIO, "Input/output error")),
        pytest.raises(LvgError, match="x cannot be read: Input/output error"),
    ):
        capture(tmp_path / "x")


def test_the_state_folder_may_vanish_while_it_is_locked(tmp_path: Path) -> None:
    """Another run removes it when it ends with nothing to keep."""
    root, made, real = Root(tmp_path), [], locking._make_folders

    def vanish_once(folder: Path, noted: list[Path]) -> None:
        real(folder, noted)
        if not made:
            made.append(folder)
            folder.rmdir()

    with mock.patch.object(locking, "_make_folders", vanish_once), exclusive(root):
        assert (tmp_path / "var/lib/lvg/lock").exists()
    assert made
    assert not (tmp_path / "var/lib/lvg").exists()


def test_a_state_folder_that_never_stays_is_an_error(tmp_path: Path) -> None:
    def vanish(folder: Path, noted: list[Path]) -> None:
        del folder, noted

    with (
        mock.patch.object(locking, "_make_folders", vanish),
        pytest.raises(LvgError, match="/var/lib/lvg cannot be written: No such file"),
        exclusive(Root(tmp_path), wait=0.0),
    ):
        pytest.fail("it has no lock")


def test_a_lock_that_the_other_run_removed_is_none(tmp_path: Path) -> None:
    """The file that was opened is no longer the one with that name: somebody else may hold the new one."""
    root, taken = Root(tmp_path), []
    path, real = tmp_path / "var/lib/lvg/lock", os.fstat

    def replaced_once(handle: int) -> os.stat_result:
        if not taken and path.exists():
            taken.append(handle)
            path.unlink()
            path.touch()
        return real(handle)

    with (
        mock.patch.object(locking.os, "fstat", replaced_once),
        exclusive(root),
        pytest.raises(LvgError, match="another run"),
        exclusive(root, wait=0.0),
    ):
        pytest.fail("two at once")
    assert taken


def test_what_was_put_may_go_with_its_folder(tmp_path: Path) -> None:
    filestate.sync_folder(tmp_path / "gone")  # a folder that an undo removed needs no fsync


def test_an_undo_copies_edits_or_does_nothing(debian: Any) -> None:
    debian.install("--profile", "graceful")
    debian.config.write_text("ON_BOOT=start\n")
    edited = debian.tree()
    debian.put("/var/lib/lvg/replaced", "in the way")
    done = debian.run("lvg", "remove", "--force")
    assert (done.code, "/var/lib/lvg/replaced cannot be written" in done.err) == (1, True)
    assert debian.config.read_text() == "ON_BOOT=start\n"
    (debian.root / "var/lib/lvg/replaced").unlink()
    assert debian.tree() == edited


def test_a_checkpoint_of_a_newer_lvg_is_left_alone(debian: Any) -> None:
    debian.install("--profile", "graceful")
    (manifest,) = (debian.root / "var/lib/lvg/checkpoints").glob("*/manifest.json")
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 2'))
    before = debian.tree()
    done = debian.run("lvg", "remove")
    assert (done.code, "was written by a newer lvg" in done.err) == (1, True)
    assert debian.tree() == before
