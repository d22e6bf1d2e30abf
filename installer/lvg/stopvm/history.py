"""The record of each stop: who ran, what became of it, and what is still to be brought back.

One JSON file a stop, in STATE/history, for root alone. It is written before the first request and
again as verdicts come in, each time as a whole, so that a power cut leaves what was known.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import plainfile
from .typed import known_values

SCHEMA = 1
KEEP = 50  # records
_MOST = 64 << 20  # bytes of a record; one of 10,000 guests has 5 MiB
GIVEN_UP = "ended by "  # begins the complaint of a stop that a signal ended


@dataclass
class Entry:
    """One guest. `verdict` is clean, saved, destroyed, left or lost, "" while there is none."""

    uri: str
    uuid: str
    name: str
    state: str = "running"
    persistent: bool = True
    verdict: str = ""
    detail: str = ""
    wanted: bool = True  # the verdict is what the policy asks for
    method: str = ""
    seconds: float = 0.0
    restored: str = ""  # "" = still to be brought back; else what came of it

    @property
    def key(self) -> tuple[str, str]:
        """What makes a guest the same one in two records."""
        return self.uri, self.uuid or self.name


@dataclass
class Record:
    """One stop. `kind` is "shutdown" (of the host), "now" (by hand) or "cut" (none: guests lost power)."""

    kind: str = "shutdown"
    boot_id: str = ""
    started: str = ""
    ended: str = ""  # "" = it was cut short
    exit_code: int | None = None
    profile: str = ""
    complaints: list[str] = field(default_factory=list)
    guests: list[Entry] = field(default_factory=list)
    carried: list[Entry] = field(default_factory=list)  # stopped earlier, and not yet back
    restored: str = ""  # when a boot dealt with this record; that happens once

    def pending(self, also_dealt_with: bool = False) -> list[Entry]:
        """Return the guests that a restore has still to bring back.

        A record that a boot has dealt with has none; with `also_dealt_with` those that it did not bring back.
        """
        if self.restored and not also_dealt_with:
            return []
        return [entry for entry in [*self.guests, *self.carried] if not entry.restored]

    def at_work(self, this_boot: str) -> bool:
        """True if the stop goes on now: it has no end, none is noted, and it began in this boot."""
        given_up = any(text.startswith(GIVEN_UP) for text in self.complaints)
        return not self.ended and not given_up and bool(this_boot) and self.boot_id == this_boot

    def as_json(self) -> dict[str, object]:
        """Return what the file holds, and what `stopvm status --json` shows."""
        lists = {key: [dict(vars(entry)) for entry in getattr(self, key)] for key in ("guests", "carried")}
        return {"schema": SCHEMA, **vars(self), "complaints": list(self.complaints), **lists}


def now() -> str:
    """Return the time as it stands in records: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def boot_id() -> str:
    """Return the kernel's id of this boot, "" if it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class History:
    """The folder STATE/history."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "history"
        self.complaints: list[str] = []

    def latest(self) -> tuple[Path, Record] | None:
        """Return the newest record that can be read; what cannot be read is passed over and complained of."""
        for path in sorted(self._files(), reverse=True):
            try:
                return path, record(json.loads(plainfile.text(path, _MOST)))
            except (OSError, ValueError, TypeError, RecursionError) as error:
                self.complaints.append(f"{path} cannot be used and is passed over: {error}")
        return None

    def since(self, name: str) -> list[Record] | None:
        """Return the records that came after the one with the file name `name` ("" = all), newest first.

        None if that cannot be told: the history was cleared meanwhile, or a record is broken.
        """
        paths = sorted(self._files(), reverse=True)
        if name and not (paths and paths[0].name >= name):
            return None
        try:
            return [record(json.loads(plainfile.text(path, _MOST))) for path in paths if path.name > name]
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def newest_name(self) -> str:
        """Return the file name of the newest record, readable or not, "" if there is none."""
        return max((path.name for path in self._files()), default="")

    def new(self) -> Path:
        """Return the path of the next record. Numbers give the order: the clock may be wrong at boot."""
        numbers = [int(path.name[:8]) for path in self._files()]
        return self._folder / f"{max(numbers, default=0) + 1:08}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"

    def write(self, path: Path, data: Mapping[str, object]) -> None:
        """Write a record as a whole, down to the disk, and drop the oldest ones. Raises OSError."""
        make_folder(self._folder)
        self._folder.chmod(0o700)
        put(path, data)
        self._drop_old()

    def _drop_old(self) -> None:
        """Remove the oldest records, and what runs of their time left that were killed while they wrote."""
        files = sorted(self._files())
        oldest = min((path.name for path in files[-KEEP:]), default="")
        left = [path for path in self._folder.glob(".*.json.*") if path.name[1:] < oldest]
        for old in [*files[:-KEEP], *left]:
            with suppress(OSError):  # the new record is there, which is what counts
                old.unlink()

    def _files(self) -> Iterator[Path]:
        return (path for path in self._folder.glob("*.json") if path.name[:8].isdecimal())


def put(path: Path, data: Mapping[str, object]) -> None:
    """Write a JSON file for root alone, as a whole and down to the disk. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}")  # SIGTERM may come during a write
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(_lines(data))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder for root alone, and those above it, so that a power cut does not take them. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lines(data: Mapping[str, object]) -> Iterator[str]:
    """Yield a JSON object with a line for each guest; json's own indentation takes ten times as long."""
    for number, (key, value) in enumerate(data.items()):
        yield f'{"," if number else "{"}\n "{key}": '
        if isinstance(value, list) and value:
            for place, item in enumerate(value):
                yield f"{',' if place else '['}\n  {json.dumps(item)}"
            yield "\n ]"
        else:
            yield json.dumps(value)
    yield "\n}\n"


def record(data: Any) -> Record:  # noqa: ANN401  # whatever JSON held
    """Return the record that a file holds; every value in it is of its type. Raises ValueError and TypeError."""
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError("not a record of a known schema")
    known = known_values(Record, data)
    for key in ("guests", "carried"):
        known[key] = [_entry(item) for item in known.get(key, [])]
    return Record(**known)


def _entry(data: Any) -> Entry:  # noqa: ANN401
    if not isinstance(data, dict) or not {"uri", "uuid", "name"} <= data.keys():
        raise ValueError("a guest without a name")
    return Entry(**known_values(Entry, data))
