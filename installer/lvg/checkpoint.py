"""Checkpoints: what the host was before an apply, kept so that every byte can come back.

A checkpoint is a folder /var/lib/lvg/checkpoints/NNNN with `manifest.json` and one blob for each
saved file. It is complete and on disk before the first change is made. Its `phase` says how far
the run got, and therefore what the next run has to do:

    open   the run did not end: put everything back (`apply.recover` does it)
    done   applied; `rollback` and `remove` go back to what is saved here
    drop   an undo has ended: the checkpoints named in `drops` are only to be deleted
"""

import base64
import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from lvg.errors import LvgError
from lvg.files import Root, read_regular
from lvg.filestate import FileState, Kind, Meta, file_state, put, sync_folder

STATE = "/var/lib/lvg"
FOLDER = f"{STATE}/checkpoints"
Phase = Literal["open", "done", "drop"]
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """One path: what it was, and the digest of what the run made of it."""

    path: str
    before: FileState
    after: str


@dataclass(frozen=True)
class Checkpoint:
    """What one run changes. `folders` are those it creates; `drops` are checkpoints it makes void."""

    id: str
    phase: Phase
    when: str
    command: tuple[str, ...]
    entries: tuple[Entry, ...]
    folders: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()


def next_id(known: tuple[Checkpoint, ...]) -> str:
    """Return the name of the checkpoint that follows the known ones."""
    return f"{int(known[-1].id) + 1 if known else 1:04d}"


def save(root: Root, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, complete and on disk, or nothing. Raises OSError."""
    folder = root.real(FOLDER)
    new = folder / f".new-{checkpoint.id}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        for number, entry in enumerate(checkpoint.entries):
            if entry.before.kind == "file":
                put(new / str(number), file_state(entry.before.data, 0o600), "new")
        put(new / _MANIFEST, file_state(_dump(checkpoint), 0o600), "new")
        new.rename(folder / checkpoint.id)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    sync_folder(folder)


def mark(root: Root, checkpoint: Checkpoint, phase: Phase, drops: tuple[str, ...] = ()) -> Checkpoint:
    """Record, in one step, how far the run got. Raises OSError."""
    marked = dataclasses.replace(checkpoint, phase=phase, drops=drops)
    put(root.real(FOLDER) / checkpoint.id / _MANIFEST, file_state(_dump(marked), 0o600), "new")
    return marked


def load_all(root: Root) -> tuple[Checkpoint, ...]:
    """Return every checkpoint, oldest first. Raises LvgError for one that cannot be read."""
    names = [name for name in root.listdir(FOLDER) if name.isascii() and name.isdecimal()]
    return tuple(_load(root.real(FOLDER) / name) for name in sorted(names, key=int))


def delete(root: Root, ids: tuple[str, ...]) -> None:
    """Delete checkpoints, the newest first, so that a power cut leaves a readable rest."""
    folder = root.real(FOLDER)
    for name in sorted(ids, key=int, reverse=True):
        with_dot = folder / f".old-{name}"
        if (folder / name).exists():
            (folder / name).rename(with_dot)
    sync_folder(folder)  # no power cut brings the name back without what it holds
    sweep(root)


def sweep(root: Root) -> None:
    """Delete what a killed run left half written or half deleted."""
    folder = root.real(FOLDER)
    for name in root.listdir(FOLDER):
        if name.startswith((".new-", ".old-")):
            shutil.rmtree(folder / name, ignore_errors=True)


def originals(checkpoints: tuple[Checkpoint, ...]) -> dict[str, FileState]:
    """Return what each path was before the very first of these applies."""
    first: dict[str, FileState] = {}
    for checkpoint in checkpoints:
        for entry in checkpoint.entries:
            first.setdefault(entry.path, entry.before)
    return first


def leftovers(checkpoints: tuple[Checkpoint, ...]) -> dict[str, str]:
    """Return the digest that each path had after the last of these applies."""
    return {entry.path: entry.after for checkpoint in checkpoints for entry in checkpoint.entries}


def edited_between(checkpoints: tuple[Checkpoint, ...]) -> tuple[str, ...]:
    """Return paths that somebody edited between two applies: an undo loses that edit.

    An edit that made of a path what an undo makes of it is not lost: a drop-in that went with its package, say.
    """
    first, last = originals(checkpoints), dict[str, str]()
    found = []
    for checkpoint in checkpoints:
        for entry in checkpoint.entries:
            if entry.before.digest not in (last.get(entry.path), first[entry.path].digest):
                found.append(entry.path)
            last[entry.path] = entry.after
    return tuple(dict.fromkeys(found))


def _dump(checkpoint: Checkpoint) -> bytes:
    document = {
        "schema": 1,
        "phase": checkpoint.phase,
        "when": checkpoint.when,
        "command": checkpoint.command,
        "folders": checkpoint.folders,
        "drops": checkpoint.drops,
        "entries": [_dump_entry(entry) for entry in checkpoint.entries],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _dump_entry(entry: Entry) -> dict[str, object]:
    meta = entry.before.meta
    return {
        "path": os.fsencode(entry.path).decode("utf-8", "surrogateescape"),
        "kind": entry.before.kind,
        "target": entry.before.target,
        "mode": f"{meta.mode:04o}",
        "uid": meta.uid,
        "gid": meta.gid,
        "xattrs": {name: base64.b64encode(value).decode() for name, value in meta.xattrs},
        "before": entry.before.digest,
        "after": entry.after,
    }


def _load(folder: Path) -> Checkpoint:
    try:
        found = json.loads(_bytes(folder / _MANIFEST))
        if found["schema"] != 1:
            raise LvgError(f"{folder} was written by a newer lvg", "Use that version of lvg to undo it.")
        entries = tuple(_load_entry(folder, number, entry) for number, entry in enumerate(found["entries"]))
        phase = cast(Phase, found["phase"])
        parts = (tuple(found[key]) for key in ("command", "folders", "drops"))
        command, folders, drops = parts
        return Checkpoint(folder.name, phase, found["when"], command, entries, folders, drops)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"the checkpoint {folder} cannot be read: {type(error).__name__} {error}"
        raise LvgError(what, "Restore this folder from a backup, or move it away to give up that undo.") from None


def _bytes(path: Path) -> bytes:
    """Read a file of a checkpoint. Raises OSError, and ValueError for what is no regular file, which may never end."""
    try:
        return read_regular(path)
    except LvgError as error:
        raise ValueError(error.what) from None


def _load_entry(folder: Path, number: int, found: dict[str, Any]) -> Entry:
    kind = cast(Kind, found["kind"])
    data = _bytes(folder / str(number)) if kind == "file" else b""
    xattrs = tuple((name, base64.b64decode(value)) for name, value in sorted(found["xattrs"].items()))
    meta = Meta(int(found["mode"], 8), found["uid"], found["gid"], xattrs)
    before = FileState(kind, data, found["target"], meta)
    if before.digest != found["before"]:
        raise ValueError(f"the saved copy of {found['path']} is damaged")
    return Entry(found["path"], before, found["after"])
