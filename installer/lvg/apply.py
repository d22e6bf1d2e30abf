"""Apply, rollback, remove: the room that changes the host, under one lock and by one transaction."""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from lvg import bundle, verify
from lvg import record as records
from lvg.changes import Changes, FileChange, UnitAct
from lvg.changes.config import unified
from lvg.changes.paths import file_change
from lvg.checkpoint import FOLDER, Checkpoint, edited_between, leftovers, load_all, originals
from lvg.errors import LvgError, NothingAppliedError, RefusedError
from lvg.files import Root
from lvg.filestate import FileState, capture, file_state, put, sync_folder
from lvg.layout import GUEST_LIST, LOCK, RECORD, REPLACED_DIR, STATE_DIR, touches_units
from lvg.locking import exclusive, undo_on_signals
from lvg.recovery import net_is_active, recover
from lvg.survey import survey
from lvg.systemd import running
from lvg.transaction import Transaction, run


class Undone(NamedTuple):
    """What a rollback or remove did, and what it left alone."""

    files: tuple[FileChange, ...]
    notes: tuple[str, ...]


@contextlib.contextmanager
def session(root: Root, *, force: bool = False) -> Iterator[tuple[str, ...]]:
    """Hold the lock, with an unfinished earlier run undone; yield what there is to say about that."""
    with undo_on_signals(), exclusive(root):
        yield recover(root, force=force)


def execute(root: Root, changes: Changes) -> Checkpoint:
    """Do what `changes` say, check the result and remember it. To be called in a `session`.

    Raises RefusedError for conflicts and LvgError for a failure, with everything put back.
    """
    if changes.conflicts:
        first = changes.conflicts[0]
        raise RefusedError(first.what, first.todo)
    _require_python(root, changes)
    before = capture(root.real(RECORD))
    after = file_state(records.dump(changes.record), 0o600)
    last = FileChange("write", RECORD, before, after, "what was applied")
    transaction = Transaction(changes.files, changes.acts, (last,), changes.unchanged, command=changes.record.command)
    return run(root, transaction, lambda: _wrong(root, changes))


def _require_python(root: Root, changes: Changes) -> None:
    if not root.live or not changes.record.program or bundle.interpreter_has_libvirt(root):
        return
    what = f"{bundle.INTERPRETER} cannot import libvirt, so stopvm could not stop any guest"
    raise LvgError(what, "Install the distro's package: python3-libvirt (Arch: libvirt-python, Alpine: py3-libvirt).")


def _wrong(root: Root, changes: Changes) -> list[str]:
    wanted = changes.record
    found = survey(root, distro=wanted.asked_distro, config_file=wanted.asked_config)
    return verify.drifted(tuple(row for row in verify.rows(found, wanted) if row.what != "runs of lvg"))


def require_something(root: Root) -> None:
    """Raise NothingAppliedError if there is nothing to undo. Reads only."""
    if os.path.lexists(root.real(STATE_DIR)) and not os.access(root.real(STATE_DIR), os.R_OK | os.X_OK):
        raise LvgError(f"{STATE_DIR} cannot be read by this user", "Run it with sudo.")
    if not root.exists(FOLDER) and not _only_begun(root):
        raise NothingAppliedError("There is nothing to undo.")


def _only_begun(root: Root) -> bool:
    """True if a run was cut off before it did more than make the state folder; the next `session` removes that."""
    return root.exists(STATE_DIR) and set(root.listdir(STATE_DIR)) <= {LOCK.rsplit("/", 1)[-1]}


def rollback(root: Root, *, force: bool = False) -> Undone:
    """Undo the last apply. To be called in a `session`; see `_undo`."""
    checkpoints = _applied(root)
    return _undo(root, checkpoints[-1:], force=force)


def remove(root: Root, *, force: bool = False) -> Undone:
    """Undo every apply: the host is what it was before lvg. To be called in a `session`."""
    return _undo(root, _applied(root), force=force)


def _applied(root: Root) -> tuple[Checkpoint, ...]:
    checkpoints = load_all(root)
    if not checkpoints:
        raise NothingAppliedError("There is nothing to undo.")
    return checkpoints


def _undo(root: Root, checkpoints: tuple[Checkpoint, ...], *, force: bool) -> Undone:
    """Put back what `checkpoints` saved; raises RefusedError if that would lose somebody's edit."""
    targets, notes = dict(originals(checkpoints)), []
    if GUEST_LIST in targets and net_is_active(root):
        targets.pop(GUEST_LIST)
        notes.append(f"{GUEST_LIST} stays away: with it, the running libvirt-guests would stop no guest")
    now = {path: capture(root.real(path, follow_last=False)) for path in targets}
    for path in [path for path, state in now.items() if state.kind == "absent" and targets[path].kind != "absent"]:
        if path != GUEST_LIST:  # a package was purged, say: what is gone stays gone
            targets.pop(path)
            notes.append(f"{path} has gone since; it is not brought back")
    lost = _lost_edits(checkpoints, targets, now)
    if not force:
        _refuse(lost, targets, now)
    notes += _keep_copies(root, lost, now)
    files = tuple(
        file_change(path, now[path], target)
        for path, target in reversed(targets.items())
        if not now[path].same_as(target)
    )
    touched = touches_units(change.path for change in files)
    acts = (UnitAct("reload", "", "systemd reads the changed units"),) if touched and running(root) else ()
    drops = tuple(checkpoint.id for checkpoint in checkpoints)
    run(root, Transaction(files, acts, drops=drops, command=("undo",)), list)
    return Undone(files, tuple(notes))


def _lost_edits(
    checkpoints: tuple[Checkpoint, ...], targets: dict[str, FileState], now: dict[str, FileState]
) -> tuple[str, ...]:
    """Return the paths whose edits an undo would lose: edited since, or in between two applies."""
    expected = leftovers(checkpoints)
    lost = [
        path
        for path in targets
        if path != GUEST_LIST and now[path].digest not in (expected[path], targets[path].digest)
    ]
    between = [path for path in edited_between(checkpoints) if path not in (RECORD, GUEST_LIST)]
    return tuple(dict.fromkeys(path for path in (*lost, *between) if path in targets))


def _refuse(lost: tuple[str, ...], targets: dict[str, FileState], now: dict[str, FileState]) -> None:
    if not lost:
        return
    error = RefusedError(
        f"{', '.join(lost)} was edited since lvg wrote it, and undoing loses that edit",
        f"--force goes on, and keeps a copy of it in {REPLACED_DIR}.",
    )
    for path in lost:
        error.add_note(f"what undoing would change:\n{unified(path, now[path].data, targets[path].data)}")
    raise error


def _keep_copies(root: Root, lost: tuple[str, ...], now: dict[str, FileState]) -> list[str]:
    """Write the edited files that an undo replaces into the state folder; return what to say of it."""
    said = []
    folder = root.real(REPLACED_DIR)
    try:
        for path in lost:
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(folder.parent)
            name = f"{path.strip('/').replace('/', '-')}.{now[path].digest[:12]}"
            put(folder / name, file_state(now[path].data, 0o600), "new")
            said.append(f"the edited {path} is kept as {REPLACED_DIR}/{name}")
    except OSError as error:
        raise LvgError(f"{REPLACED_DIR} cannot be written: {error.strerror}", "Make room, then run again.") from None
    return said
