"""Recovery: put back what a run changed, at once after a failure, or in the next run after a kill."""

import errno
import os
from collections.abc import Sequence

from lvg import systemd
from lvg.checkpoint import FOLDER, Checkpoint, Entry, delete, load_all, sweep
from lvg.errors import LvgError, RefusedError
from lvg.files import Root
from lvg.filestate import capture, put, staged_name, sync_folder
from lvg.layout import GUEST_LIST, touches_units
from lvg.units import GUESTS

_NOT_OURS = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY)  # somebody uses the folder, so it stays


def undo(root: Root, checkpoint: Checkpoint, *, foreign_too: bool) -> list[str]:
    """Put back what a checkpoint saved, in reverse order, going on after a failure; return the failures.

    What is neither as before nor as the run made it is somebody else's work, and only replaced
    with `foreign_too`.
    """
    failures = []
    keep_list = net_is_active(root)
    for entry in reversed(checkpoint.entries):
        try:
            _put_back(root, entry, checkpoint.id, foreign_too=foreign_too, keep_list=keep_list)
        except (OSError, LvgError) as error:
            failures.append(f"{entry.path}: {error}")
    failures += remove_folders(root, checkpoint.folders)
    failures += reload_units(root, [entry.path for entry in checkpoint.entries])
    if not failures:
        delete(root, (checkpoint.id,))
        remove_folders(root, (FOLDER,))
    return failures


def _put_back(root: Root, entry: Entry, tag: str, *, foreign_too: bool, keep_list: bool) -> None:
    real = root.real(entry.path, follow_last=False)
    if os.path.lexists(staged_name(real, tag)):  # unlink of nothing fails on a read-only file system
        staged_name(real, tag).unlink()
        sync_folder(real.parent)
    if entry.path == GUEST_LIST and keep_list:
        return  # an old list keeps a running libvirt-guests from stopping guests at all
    now = capture(real)
    if now.digest not in (entry.before.digest, entry.after) and not foreign_too:
        return
    if not now.same_as(entry.before):
        make_folders(root, [entry.path])
        put(real, entry.before, tag)


def _refuse_edited(root: Root, checkpoint: Checkpoint) -> None:
    for entry in checkpoint.entries:
        now = capture(root.real(entry.path, follow_last=False))
        if now.digest not in (entry.before.digest, entry.after):
            what = f"{entry.path} was edited after a run of lvg was cut off in the middle"
            raise RefusedError(what, "--force puts the file back to what it was before that run.")


def recover(root: Root, *, force: bool) -> tuple[str, ...]:
    """Finish or undo what a killed run left, and say so. Raises LvgError if that cannot be done."""
    try:
        return _recover(root, force=force)
    except OSError as error:
        raise LvgError(f"what a run left in {FOLDER} cannot be cleared: {error}", "Mend that, run again.") from None


def _recover(root: Root, *, force: bool) -> tuple[str, ...]:
    said = []
    sweep(root)
    for checkpoint in reversed(load_all(root)):
        if checkpoint.phase == "drop":
            drop(root, checkpoint)
        elif checkpoint.phase == "open":
            if not force:
                _refuse_edited(root, checkpoint)
            failures = undo(root, checkpoint, foreign_too=True)
            if failures:
                raise LvgError(f"an unfinished run cannot be undone: {'; '.join(failures)}", "Mend that, run again.")
            said.append(f"a run of {checkpoint.when} had been cut off; what it had changed was put back")
    remove_folders(root, (FOLDER,))
    return tuple(said)


def drop(root: Root, checkpoint: Checkpoint) -> None:
    """Delete the checkpoints that an undo made void, its own last: until then the next run goes on with it.

    Raises OSError, and LvgError for a folder that should go and stays.
    """
    folders = [folder for each in load_all(root) if each.id in checkpoint.drops for folder in each.folders]
    if failures := remove_folders(root, folders):
        raise LvgError(f"what an undo left cannot be removed: {'; '.join(failures)}", "Mend that, run again.")
    delete(root, checkpoint.drops)
    delete(root, (checkpoint.id,))
    remove_folders(root, (FOLDER,))


def remove_folders(root: Root, folders: Sequence[str]) -> list[str]:
    """Remove the folders that are empty, the innermost first; return what went wrong."""
    failures = []
    for folder in reversed(folders):
        try:
            real = root.real(folder)
            real.rmdir()
            sync_folder(real.parent)
        except LvgError:
            continue  # a link in the way that leads nowhere: there is no folder of ours behind it
        except OSError as error:
            if error.errno not in _NOT_OURS and os.path.lexists(real):
                failures.append(f"{folder}: {error}")
    return failures


def reload_units(root: Root, paths: Sequence[str]) -> list[str]:
    """Let systemd read units anew if any of `paths` is one; return what went wrong."""
    if not systemd.running(root) or not touches_units(paths):
        return []
    try:
        systemd.daemon_reload()
    except LvgError as error:
        return [error.what]
    return []


def net_is_active(root: Root) -> bool:
    """True if libvirt-guests is active on the live host."""
    return systemd.running(root) and systemd.units(root, [GUESTS])[GUESTS].active in ("active", "activating")


def make_folders(root: Root, paths: Sequence[str]) -> None:
    """Make the folders that these paths need, for all to read whatever the umask says. Raises OSError."""
    for folder in missing_folders(root, paths):
        root.real(folder).mkdir(0o755, exist_ok=True)  # without a moment in which others may write there
        root.real(folder).chmod(0o755)
        sync_folder(root.real(folder).parent)


def missing_folders(root: Root, paths: Sequence[str]) -> list[str]:
    """Return the folders that have to be made, the outermost first."""
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")[1:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:depth])
            if not root.exists(folder):
                found[folder] = None
    return list(found)
