"""A transaction: many files become what they should be, or all of them stay what they were.

The order is: checkpoint on disk, everything staged beside its target, nothing changed meanwhile?,
all renames, unit acts, check, last files, mark. Until the mark, any failure, and the next run
after a kill, puts every byte back.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lvg import systemd
from lvg.changes.types import FileChange, UnitAct
from lvg.checkpoint import FOLDER, Checkpoint, Entry, delete, load_all, mark, next_id, save, sweep
from lvg.errors import LvgError, RefusedError
from lvg.files import Root
from lvg.filestate import ABSENT, FileState, capture, put, stage, staged_name, swap_in
from lvg.layout import GUEST_LIST, UNIT_DIR
from lvg.locking import no_signals, undo_on_signals
from lvg.units import GUESTS


@dataclass(frozen=True)
class Transaction:
    """What is done in one go. `last` are files that come after the check; `drops` become void."""

    files: tuple[FileChange, ...]
    acts: tuple[UnitAct, ...] = ()
    last: tuple[FileChange, ...] = ()
    drops: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def run(root: Root, transaction: Transaction, check: Callable[[], Sequence[str]]) -> Checkpoint:
    """Carry out a transaction; `check` returns what is wrong on the host afterwards.

    Raises LvgError with everything put back, and with each thing that could not be.
    """
    with undo_on_signals():
        checkpoint = _begin(root, transaction)
        started: list[str] = []
        try:
            _swap_all(root, checkpoint.id, transaction.files)
            _act(transaction.acts, started)
            _insist(check())
            _swap_all(root, checkpoint.id, transaction.last)
            with no_signals():
                marked = mark(root, checkpoint, "drop" if transaction.drops else "done", transaction.drops)
        except BaseException as error:
            _give_up(root, checkpoint, error, started)
            raise
    if marked.phase == "drop":
        with contextlib.suppress(OSError):  # the undo is done; the next run sweeps what is left of the checkpoints
            _drop(root, marked)
    return marked


def _begin(root: Root, transaction: Transaction) -> Checkpoint:
    changes = (*transaction.files, *transaction.last)
    entries = tuple(Entry(change.path, change.before, change.after.digest) for change in changes)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        root.real(FOLDER).mkdir(mode=0o700, exist_ok=True)
        identity = next_id(load_all(root))
        folders = tuple(_missing_folders(root, [change.path for change in changes if change.after != ABSENT]))
        checkpoint = Checkpoint(identity, "open", when, transaction.command, entries, folders)
        save(root, checkpoint)
    except OSError as error:
        with contextlib.suppress(OSError):
            root.real(FOLDER).rmdir()
        what = f"the checkpoint cannot be written: {error.strerror}; nothing was changed"
        raise LvgError(what, f"Make room and write access below {FOLDER}.") from None
    return checkpoint


def _missing_folders(root: Root, paths: Sequence[str]) -> list[str]:
    """Return the folders that have to be made, the outermost first."""
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")[1:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:depth])
            if not root.exists(folder):
                found[folder] = None
    return list(found)


def _swap_all(root: Root, tag: str, changes: Sequence[FileChange]) -> None:
    path = ""
    try:
        for folder in _missing_folders(root, [change.path for change in changes if change.after != ABSENT]):
            path = folder
            root.real(folder).mkdir(mode=0o755, exist_ok=True)
        for change in changes:
            path = change.path
            stage(root.real(path, follow_last=False), change.after, tag)
        for change in changes:
            path = change.path
            real = root.real(path, follow_last=False)
            if not capture(real).same_as(change.before):
                raise LvgError(f"{path} was changed by somebody else during this run", "Run it again.")
            swap_in(real, change.after, tag)
    except OSError as error:
        raise LvgError(f"{path} cannot be written: {error.strerror}", _remedy(error)) from None


def _remedy(error: OSError) -> str:
    if error.errno == 30:  # EROFS
        return "The file system is read-only: mount it for writing, then run again."
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return "There is no room left: make some, then run again."
    return "Mend what the message says, then run again."


def _act(acts: Sequence[UnitAct], started: list[str]) -> None:
    for act in acts:
        if act.action == "reload":
            systemd.daemon_reload()
        else:
            systemd.start(act.unit)
            started.append(act.unit)


def _insist(wrong: Sequence[str]) -> None:
    if wrong:
        raise LvgError(f"the check after the change failed: {'; '.join(wrong)}", "journalctl -b knows more.")


def _give_up(root: Root, checkpoint: Checkpoint, error: BaseException, started: Sequence[str]) -> None:
    failures = undo(root, checkpoint, foreign_too=False)
    if isinstance(error, LvgError):
        error.what += "; everything was put back" if not failures else f"; NOT put back: {'; '.join(failures)}"
        if started:
            error.what += f"; {', '.join(started)} stays started"


def undo(root: Root, checkpoint: Checkpoint, *, foreign_too: bool) -> list[str]:
    """Put back what a checkpoint saved, in reverse order, going on after a failure; return the failures.

    What is neither as before nor as the run made it is somebody else's work, and only replaced
    with `foreign_too`.
    """
    failures = []
    keep_list = _net_is_active(root)
    for entry in reversed(checkpoint.entries):
        try:
            _put_back(root, entry, checkpoint.id, foreign_too=foreign_too, keep_list=keep_list)
        except (OSError, LvgError) as error:
            failures.append(f"{entry.path}: {error}")
    remove_folders(root, checkpoint.folders)
    failures += reload_units(root, [entry.path for entry in checkpoint.entries])
    if not failures:
        delete(root, (checkpoint.id,))
        remove_folders(root, (FOLDER,))
    return failures


def _put_back(root: Root, entry: Entry, tag: str, *, foreign_too: bool, keep_list: bool) -> None:
    real = root.real(entry.path, follow_last=False)
    if os.path.lexists(staged_name(real, tag)):  # unlink of nothing fails on a read-only file system
        staged_name(real, tag).unlink()
    if entry.path == GUEST_LIST and keep_list:
        return  # an old list keeps a running libvirt-guests from stopping guests at all
    now = capture(real)
    if now.digest not in (entry.before.digest, entry.after) and not foreign_too:
        return
    if not now.same_as(entry.before):
        for folder in _missing_folders(root, [entry.path]):
            root.real(folder).mkdir(mode=0o755, exist_ok=True)
        put(real, entry.before, tag)


def _refuse_edited(root: Root, checkpoint: Checkpoint) -> None:
    for entry in checkpoint.entries:
        now = capture(root.real(entry.path, follow_last=False))
        if now.digest not in (entry.before.digest, entry.after):
            what = f"{entry.path} was edited after a run of lvg was cut off in the middle"
            raise RefusedError(what, "--force puts the file back to what it was before that run.")


def recover(root: Root, *, force: bool) -> tuple[str, ...]:
    """Finish or undo what a killed run left, and say so. Raises LvgError if that cannot be done."""
    said = []
    sweep(root)
    for checkpoint in reversed(load_all(root)):
        if checkpoint.phase == "drop":
            _drop(root, checkpoint)
        elif checkpoint.phase == "open":
            if not force:
                _refuse_edited(root, checkpoint)
            failures = undo(root, checkpoint, foreign_too=True)
            if failures:
                raise LvgError(f"an unfinished run cannot be undone: {'; '.join(failures)}", "Mend that, run again.")
            said.append(f"a run of {checkpoint.when} had been cut off; what it had changed was put back")
    remove_folders(root, (FOLDER,))
    return tuple(said)


def _drop(root: Root, checkpoint: Checkpoint) -> None:
    remove_folders(root, [folder for each in load_all(root) if each.id in checkpoint.drops for folder in each.folders])
    delete(root, checkpoint.drops)
    delete(root, (checkpoint.id,))
    remove_folders(root, (FOLDER,))


def remove_folders(root: Root, folders: Sequence[str]) -> None:
    """Remove the folders that are empty, the innermost first."""
    for folder in reversed(folders):
        with contextlib.suppress(OSError, LvgError):
            root.real(folder).rmdir()


def reload_units(root: Root, paths: Sequence[str]) -> list[str]:
    """Let systemd read units anew if any of `paths` is one; return what went wrong."""
    if not systemd.running(root) or not any(path.startswith(f"{UNIT_DIR}/") for path in paths):
        return []
    try:
        systemd.daemon_reload()
    except LvgError as error:
        return [error.what]
    return []


def _net_is_active(root: Root) -> bool:
    return systemd.running(root) and systemd.units(root, [GUESTS])[GUESTS].active in ("active", "activating")


def state_of(root: Root, path: str) -> FileState:
    """Return what a path inside the root is now."""
    return capture(root.real(path, follow_last=False))


