"""What a past stop was, and what became of its guests, in words: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from lvg.shutdowns import Past
from lvg.stopvm.history import GIVEN_UP, Entry, Record

LOST_POWER = "lost power"
NOT_YET = "not yet"
KINDS = {"shutdown": "shutdown of the host", "cut": "power cut", "now": "stop by hand"}
_ORDER = ("clean", "saved", "destroyed", "left to libvirt-guests", "left", "lost", LOST_POWER, NOT_YET)
_EXITS = {
    0: "all guests ended as the policy wants",
    1: "some guests were forced",
    2: "guests were left to libvirt-guests unasked, or lost",
    3: "libvirt was out of reach",
    4: "stopvm failed unexpectedly",
    130: "it was ended by Ctrl-C",
}


@dataclass(frozen=True)
class Memory:
    """What is known of guests besides one stop: their usual seconds, the timeouts of the policy; and this boot's id."""

    usual: Mapping[str, float]
    timeout: Mapping[str, float]
    boot: str = ""


def outcome(entry: Entry, at_work: bool = False) -> str:
    """Return what became of a guest: a verdict, or "lost power" where nothing else is known to have ended it."""
    if not entry.verdict:
        return NOT_YET if at_work else LOST_POWER
    if entry.verdict == "left" and entry.wanted:
        return "left to libvirt-guests"
    return LOST_POWER if entry.verdict == "lost" and entry.detail == LOST_POWER else entry.verdict


def is_lost(entry: Entry, at_work: bool = False) -> bool:
    """True for a guest that did not end by its own or by stopvm's doing."""
    return outcome(entry, at_work) in ("lost", LOST_POWER)


def is_bad(entry: Entry, at_work: bool = False) -> bool:
    """True for a guest that did not end as the policy wants it."""
    return is_lost(entry, at_work) or (bool(entry.verdict) and not entry.wanted)


def counted(record: Record, boot: str) -> str:
    """Return how many guests ended how: "5 clean, 1 saved, 1 lost power"."""
    if not record.guests:
        return "no guest ran"
    counts = Counter(outcome(entry, record.at_work(boot)) for entry in record.guests)
    known = sorted(counts, key=lambda word: (_ORDER.index(word) if word in _ORDER else len(_ORDER), word))
    return ", ".join(f"{counts[word]} {word}" for word in known)


def last_line(past: Past | None, boot: str) -> tuple[str, bool]:
    """Return the last shutdown in one line, and whether guests were lost in it."""
    if past is None:
        return "last shutdown: none recorded yet", False
    record = past.record
    kind = "a power cut, " if record.kind == "cut" else ""
    lost = any(is_lost(entry, record.at_work(boot)) for entry in record.guests)
    return f"last shutdown: {local_time(record.started)}, {kind}{counted(record, boot)}", lost


def local_time(when: str) -> str:
    """Return a time of a record as the clock on the wall showed it; what is no time stays as it is."""
    found = _parsed(when)
    try:
        return found.astimezone().strftime("%Y-%m-%d %H:%M") if found else when[:30] or "at an unknown time"
    except (ValueError, OverflowError, OSError):  # the year 1, or 9999
        return when[:30]


def how_long(record: Record) -> float | None:
    """Return the seconds from the beginning to the end of a stop; None if there is none, or the clock was set."""
    began, ended = _parsed(record.started), _parsed(record.ended)
    if began is None or ended is None or ended < began or record.kind == "cut":
        return None
    return (ended - began).total_seconds()


def how_it_ended(record: Record, boot: str) -> str:
    """Return the exit code in words, or why there is none."""
    given_up = next((text for text in record.complaints if text.startswith(GIVEN_UP)), "")
    if record.kind == "cut":
        return "there was no shutdown: these guests ran when the power went away"
    if record.at_work(boot):
        return "it is still at work"
    if not record.ended:
        return given_up or "it was cut short, and never came to an end"
    if record.exit_code is None:
        return "its exit code is not known"
    return f"exit code {record.exit_code}: {_EXITS.get(record.exit_code, 'it failed')}"


def came_back(entry: Entry) -> str:
    """Return in one word what came of bringing a guest back; "" if nothing was tried yet."""
    return entry.restored.partition(":")[0]


def _parsed(when: str) -> datetime | None:
    try:
        return datetime.strptime(when, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
