"""A transaction: many files become what they should be, or all of them stay what they were.

The order is: checkpoint on disk, everything staged beside its target, nothing changed meanwhile?,
all renames, unit acts, check, last files, mark. Until the mark, any failure, and the next run
after a kill, puts every byte back.
"""

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from lvg import openrc, systemd
from lvg.changes.types import FileChange, UnitAct
from lvg.checkpoint import FOLDER, Checkpoint, Entry, load_all, mark, next_id, save
from lvg.errors import LvgError
from lvg.files import Root
from lvg.filestate import ABSENT, capture, stage, swap_in, sync_folder
from lvg.locking import InterruptedRunError, no_signals, too_late_for_signals
from lvg.recovery import drop, make_folders, missing_folders, remove_folders, undo


class Transaction(NamedTuple):
    """What is done in one go. `last` are files that come after the check; `drops` become void.

    `witnessed` are files that the run leaves as they are, noted in the checkpoint.
    """

    files: tuple[FileChange, ...]
    acts: tuple[UnitAct, ...] = ()
    last: tuple[FileChange, ...] = ()
    witnessed: tuple[FileChange, ...] = ()
    drops: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def run(root: Root, transaction: Transaction, check: Callable[[], Sequence[str]]) -> Checkpoint:
    """Carry out a transaction; `check` returns what is wrong on the host afterwards.

    Raises LvgError with everything put back, and with each thing that could not be.
    """
    checkpoint = _begin(root, transaction)
    started: list[str] = []
    try:
        _swap_all(root, checkpoint.id, transaction.files)
        _act(transaction.acts, started)
        _insist(check())
        _swap_all(root, checkpoint.id, transaction.last)
        with no_signals():
            marked = _mark(root, checkpoint, transaction.drops)
            too_late_for_signals()
    except BaseException as error:
        _give_up(root, checkpoint, error, started)
        raise
    if marked.phase == "drop":
        with contextlib.suppress(OSError, LvgError):  # the undo is done; the next run sweeps what is left
            drop(root, marked)
    return marked


def _begin(root: Root, transaction: Transaction) -> Checkpoint:
    changes = (*transaction.files, *transaction.last)
    noted = (*transaction.witnessed, *changes)
    entries = tuple(Entry(change.path, change.before, change.after.digest) for change in noted)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        root.real(FOLDER).mkdir(mode=0o700, exist_ok=True)
        sync_folder(root.real(FOLDER).parent)
        identity = next_id(load_all(root))
        folders = tuple(missing_folders(root, [change.path for change in changes if change.after != ABSENT]))
        checkpoint = Checkpoint(identity, "open", when, transaction.command, entries, folders)
        save(root, checkpoint)
    except BaseException as error:
        remove_folders(root, (FOLDER,))
        if not isinstance(error, OSError):
            raise
        what = f"the checkpoint cannot be written: {error.strerror}; nothing was changed"
        raise LvgError(what, f"Make room and write access below {FOLDER}.") from None
    return checkpoint


def _swap_all(root: Root, tag: str, changes: Sequence[FileChange]) -> None:
    path = ""
    try:
        make_folders(root, [change.path for change in changes if change.after != ABSENT])
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


def _mark(root: Root, checkpoint: Checkpoint, drops: tuple[str, ...]) -> Checkpoint:
    try:
        return mark(root, checkpoint, "drop" if drops else "done", drops)
    except OSError as error:
        with contextlib.suppress(OSError):  # the new mark may be there all the same, and everything is put back now
            mark(root, checkpoint, "open")
        raise LvgError(f"the checkpoint cannot be written: {error.strerror}", _remedy(error)) from None


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
            (systemd.start if act.unit.endswith(".service") else openrc.start)(act.unit)
            started.append(act.unit)


def _insist(wrong: Sequence[str]) -> None:
    if wrong:
        raise LvgError(f"the check after the change failed: {'; '.join(wrong)}", "journalctl -b knows more.")


def _give_up(root: Root, checkpoint: Checkpoint, error: BaseException, started: Sequence[str]) -> None:
    failures = undo(root, checkpoint, foreign_too=False)
    if isinstance(error, LvgError | InterruptedRunError):
        error.what += "; everything was put back" if not failures else f"; NOT put back: {'; '.join(failures)}"
        if started:
            error.what += f"; {', '.join(started)} stays started"
