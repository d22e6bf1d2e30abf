"""The shutdowns of this host so far, and its power cuts, as stopvm recorded them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lvg.errors import LvgError
from lvg.files import Root
from lvg.layout import HISTORY_DIR
from lvg.stopvm import history
from lvg.stopvm.history import Entry, Record
from lvg.stopvm.verdict import MOVED

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MOST_BYTES = 4 << 20  # of one record; one of 1000 guests has half a MiB
_LATEST = 10  # stops of a guest that say what is usual now


@dataclass(frozen=True)
class Past:
    """One past stop: the name of its file, and what stopvm wrote there."""

    file: str
    record: Record

    @property
    def number(self) -> str:
        """What people call it by: the number that its file name begins with."""
        return self.file[:8].lstrip("0") or "0"

    @property
    def of_the_host(self) -> bool:
        """True for a shutdown of the host or a power cut, False for a stop by hand."""
        return self.record.kind in ("shutdown", "cut")


def past(root: Root) -> tuple[tuple[Past, ...], tuple[str, ...]]:
    """Return the recorded stops, the newest first, and what cannot be read, one line each."""
    found = list(_readings(root))
    complaints = tuple(each for each in found if isinstance(each, str))
    return tuple(each for each in found if isinstance(each, Past)), complaints


def last_shutdown(root: Root) -> tuple[Past | None, tuple[str, ...]]:
    """Return the last shutdown of the host, or power cut, and which newer records cannot be read."""
    complaints: list[str] = []
    for each in _readings(root):
        if isinstance(each, str):
            complaints.append(each)
        elif each.of_the_host:
            return each, tuple(complaints)
    return None, tuple(complaints)


def newest(root: Root) -> Past | None:
    """Return the last recorded stop, of whatever kind; None if there is none, or it cannot be read."""
    found = next(_readings(root), None)
    return found if isinstance(found, Past) else None


def this_boot(root: Root) -> str:
    """Return the kernel's id of this boot; a root that does not run has none."""
    return (root.text(_BOOT_ID) or "").strip() if root.live else ""


def verdicts(record: Record, boot: str) -> dict[str, int]:
    """Count the verdicts of a record. A guest without one is not yet down in this boot, and lost in an earlier one."""
    without = "not yet" if record.at_work(boot) else "lost"
    return dict(Counter(_verdict(entry, without) for entry in record.guests))


def _verdict(entry: Entry, without: str) -> str:
    verdict = entry.verdict or without
    return "left to libvirt-guests" if verdict == "left" and entry.wanted else verdict


def usual(pasts: Iterable[Past]) -> dict[str, float]:
    """Return how many seconds each guest takes to end by itself: the median of its last 10 clean stops."""
    return {name: median(times[:_LATEST]) for name, times in clean_times(pasts).items()}


def median(times: Sequence[float]) -> float:
    """Return the time in the middle; there is one at least. Python's own median takes 10 ms to import."""
    ordered, half = sorted(times), len(times) // 2
    return ordered[half] if len(times) % 2 else (ordered[half - 1] + ordered[half]) / 2


def clean_times(pasts: Iterable[Past]) -> dict[str, list[float]]:
    """Return the seconds of the clean stops of each guest, in the order of `pasts`.

    A guest that went to another host did not shut down, and 0 stands for a time that nobody measured.
    """
    times: dict[str, list[float]] = {}
    for each in pasts:
        for entry in each.record.guests if each.record.kind in ("shutdown", "now") else ():
            if entry.verdict == "clean" and entry.method != MOVED and entry.seconds > 0:
                times.setdefault(entry.name, []).append(entry.seconds)
    return times


def _readings(root: Root) -> Iterator[Past | str]:
    """Yield each record, the newest first, or a complaint in its place."""
    try:
        names = _names(root)
    except LvgError as error:
        yield f"{HISTORY_DIR} cannot be read: {error.what}"
        return
    except OSError as error:
        yield f"{HISTORY_DIR} cannot be read: {error.strerror}"
        return
    for name in names:
        try:
            yield Past(name, _read(root, name))
        except LvgError as error:
            yield f"{error.what}; it is passed over"
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            yield f"{HISTORY_DIR}/{name} cannot be used and is passed over: {str(error)[:200]}"


def _names(root: Root) -> list[str]:
    """Return the names of the newest records, as many as stopvm keeps. Raises LvgError and OSError."""
    folder = root.real(HISTORY_DIR)
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    records = [name for name in names if name.endswith(".json") and name[:8].isdecimal()]
    return sorted(records, reverse=True)[: history.KEEP]


def _read(root: Root, name: str) -> Record:
    data = root.read(f"{HISTORY_DIR}/{name}")
    if data is None:
        raise ValueError("it was removed meanwhile")
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has {len(data)} bytes")
    return history.record(json.loads(data.decode()))  # strictly, as stopvm does
