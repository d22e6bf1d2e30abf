"""Read one profile that was found, if it may be trusted.

Only the host's own files and the caller's file are checked for their owner: what is shipped lies where the program
itself lies.
"""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from lvg.errors import LvgError, UsageError
from lvg.files import Root

LOCAL_FOLDER = "/etc/lvg/profiles"
_MAX_BYTES = 1 << 20


class Source(NamedTuple):
    """Where a profile lies. `label` is what people are shown: a local file's path as the host sees it."""

    kind: Literal["shipped", "local", "caller"]
    name: str
    label: str
    path: Path


@dataclass(frozen=True)
class Document:
    """One profile file, read and parsed, not yet checked."""

    source: Source
    text: str = field(repr=False)
    data: Mapping[str, object] = field(hash=False)

    def where(self, key: str = "") -> str:
        """Return the file's label, with the line of `key` if exactly one line sets it."""
        wanted = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
        lines = [number for number, line in enumerate(self.text.splitlines(), 1) if key and wanted.match(line)]
        return f"{self.source.label}, line {lines[0]}" if len(lines) == 1 else self.source.label


def read(source: Source, root: Root) -> Document:
    """Read and parse one profile. Raises UsageError or LvgError that names the file, and the line if known."""
    data = _bytes(source, root)
    try:
        text = data.decode("utf-8-sig")
        return Document(source, text, tomllib.loads(text))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{source.label}, line {line}: not UTF-8.", "Save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{source.label} is not TOML: {what}.", 'Write KEY = value, text in "quotes".') from None


def _bytes(source: Source, root: Root) -> bytes:
    """Read what was checked: owner and mode are those of the very file that is open."""
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        handle = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _refuse(source, os.fstat(handle), root)
            with open(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)
    except OSError as error:
        raise LvgError(f"{source.label} cannot be read: {error.strerror}.", "Check its owner and mode.") from None


def _refuse(source: Source, found: os.stat_result, root: Root) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{source.label} is not a regular file.", "Give a TOML file.")
    if found.st_size > _MAX_BYTES:
        raise UsageError(f"{source.label} is larger than 1 MiB.", "A profile is a short TOML file.")
    owners = _trusted(source, root)
    if owners is None:
        return
    places = [(source.label, found)]
    if source.kind == "local":
        places.append((LOCAL_FOLDER, root.real(LOCAL_FOLDER).stat()))
    for label, place in places:
        reason = distrust(place.st_mode, place.st_uid, owners)
        if reason:
            raise UsageError(f"{label} {reason}.", f"Look at it, then: chown root {label}; chmod go-w {label}")


def _trusted(source: Source, root: Root) -> frozenset[int] | None:
    """Return who may own a profile, or None where nobody is harmed: what is shipped, or no change of a live host."""
    by_sudo = os.environ.get("SUDO_UID", "")
    callers = {0, os.geteuid()} | ({int(by_sudo)} if by_sudo.isdecimal() else set())
    if source.kind == "local":
        return frozenset({0} if root.live else callers)
    return frozenset(callers) if source.kind == "caller" and root.live and os.geteuid() == 0 else None


def distrust(mode: int, owner: int, trusted: frozenset[int]) -> str:
    """Return why a file with this mode and owner may not decide over guests, or ''."""
    if owner not in trusted:
        return f"belongs to user {owner}, not to root"
    return "may be written by others" if mode & (stat.S_IWGRP | stat.S_IWOTH) else ""
