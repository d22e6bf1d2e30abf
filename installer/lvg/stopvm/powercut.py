"""Guests that lost power, by what libvirt wrote of them: a start in the guest's log without an end.

libvirt's QEMU driver notes each start of a guest in /var/log/libvirt/qemu/NAME.log ("starting up libvirt version")
and each end ("shutting down, reason=..."), a crash and a save among them. Whatever takes the power away, from the
host or from libvirtd and QEMU together, leaves the start without an end. Times there are UTC; two runs are told
apart by the text of their start, so that a wrong clock does no harm.

QEMU itself notes a signal that ends it, and who sent it. libvirt sends one too, to a QEMU whose guest is off; but from
anybody else (systemd, once nobody stopped the guest in time) it is a plug that is pulled, whatever libvirt notes then.

Limits: a log whose start was rotated away (gzipped, or more than _TAIL bytes ago) tells nothing.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import plainfile

LOGS = "var/log/libvirt/qemu"
DEFINITIONS = "etc/libvirt/qemu"
_PIDS = "run/libvirt/qemu"
_TAIL = 2 << 20  # bytes of each file that are read; virtlogd starts a new file after as many
_ROTATED = ("", ".0", ".1", ".2")  # virtlogd counts from 0, logrotate from 1, and gzips from 2 on
_WORDS = re.compile(
    rb"^(?:(\d{4}-\d\d-\d\d \S+): (?:(starting up) libvirt version|shutting down, reason=(\w+))"
    rb"|(?:\S+ )?\S+: terminating on signal \d+ from pid \d+ \(([^<)\n][^)\n]*)\))",  # not "<unknown process>"
    re.MULTILINE,
)
_KILLED = "killed"  # the reason in place of "shutdown" where not libvirt ended QEMU
_DAEMON = re.compile(rb"(?:^|/)(?:libvirtd|virtqemud)$")
_ENDED = {"": "cut", "shutdown": "clean", "saved": "saved", "destroyed": "destroyed", "migrated": "moved"}
_UUID = re.compile(r"<uuid>([0-9a-fA-F-]{36})</uuid>")


@dataclass(frozen=True)
class Run:
    """One run of a guest. `began`: libvirt's time of it, "" = not in the log; `reason` of its end, "" = it has none."""

    began: str
    reason: str = ""
    over: str = ""  # libvirt's time of its end


def runs(log: bytes) -> list[Run]:
    """Return the runs that a log tells of, oldest first; pure."""
    found: list[Run] = []
    killer = b""  # who ended the present run's QEMU; who sends a second signal does not matter
    for when, start, noted, sender in _WORDS.findall(log.replace(b"\0", b"\n")):  # a power cut may leave zeros
        reason = _KILLED if noted == b"shutdown" and killer and not _DAEMON.search(killer) else noted.decode()
        if sender:
            killer = killer or sender
            continue
        killer = b""
        if start:
            found.append(Run(when.decode(errors="replace")))
        elif found and not found[-1].reason:
            found[-1] = Run(found[-1].began, reason, when.decode(errors="replace"))
        else:
            found.append(Run("", reason, when.decode(errors="replace")))
    return found


def past(found: list[Run], active: bool) -> list[Run]:
    """Return the runs that are over; of an active guest the last one is the present one."""
    return found[:-1] if active and found and not found[-1].reason else found


def cut_short(found: list[Run]) -> str:
    """Return when the newest run began that has no end, "" if each has one."""
    return next((run.began for run in reversed(found) if not run.reason), "")


def _last_before(found: list[Run], when: str) -> Run | None:
    """Return the last run that began until a time (a log's text), by the clock; None if there is none."""
    return next((run for run in reversed(found) if run.began <= when + "~"), None)  # sorts after parts of a second


def ended(found: list[Run], running_at: str) -> str:
    """Return how the run ended in which the guest was at a time (a log's text): a verdict, "moved" or "cut".

    "" if all began later, by the clock, or there is none.
    """
    run = _last_before(found, running_at)
    if run is None or (run.reason and run.over < running_at):
        return ""
    return _ENDED.get(run.reason, "lost")


def ran_at(found: list[Run], when: str, known: str = "", since: str = "") -> bool:
    """True if the guest ran at a time (a log's text), and did not run and end again later.

    A run without an end counts only if it is the newest one, began after `since`, and is not the one that is `known`.
    A run that failed was never more than a try: to start, or to come in from another host.
    """
    run = _last_before(found, when)
    if run is None or (run is not found[-1] and found[-1].reason):
        return False
    if run.reason:
        return run.over >= when and run.reason != "failed"
    return run.began == cut_short(found) and run.began != known and run.began > since


@dataclass(frozen=True)
class Span:
    """Which runs without an end are new: those that are not `known`, and began after a time that sorts like the log's.

    `guests` has a later time for some of them.
    """

    known: Mapping[str, str]
    after: str
    guests: Mapping[str, str]

    def holds(self, name: str, began: str) -> bool:
        """True if the guest's run without an end is a new one."""
        return began != self.known.get(name) and began > max(self.after, self.guests.get(name, ""))


def log_time(record_time: str) -> str:
    """Return the time of a record as it would stand in a log: "2026-11-23T06:00:00Z" is "2026-11-23 06:00:00" there."""
    return record_time.replace("T", " ").removesuffix("Z")


def record_time(log_time: str) -> str:
    """Return a time of a log as it would stand in a record, to the second."""
    return f"{log_time[:19].replace(' ', 'T')}Z"


def read_log(name: str, root: Path) -> bytes:
    """Return what is left of a guest's log, rotated parts first. Raises OSError unless there is none."""
    base = root / LOGS / f"{name}.log"
    there = [path for suffix in _ROTATED if (path := base.with_name(base.name + suffix)).is_file()]
    return b"\n".join(plainfile.tail(path, _TAIL) for path in sorted(there, key=lambda path: path.stat().st_mtime))


def logged(root: Path) -> list[str]:
    """Return the names of the guests that have a log. Raises OSError."""
    names = os.listdir(root / LOGS)  # noqa: PTH208  # a glob hides that a folder may not be read
    return sorted(name.removesuffix(".log") for name in names if name.endswith(".log"))


def active(root: Path) -> frozenset[str]:
    """Return the names of the guests that run, by libvirt's pid files. Raises OSError if these cannot be read."""
    try:
        names = os.listdir(root / _PIDS)  # noqa: PTH208
    except FileNotFoundError:
        return frozenset()
    return frozenset(name.removesuffix(".pid") for name in names if name.endswith(".pid"))


def defined_uuid(name: str, root: Path) -> str:
    """Return the UUID of a guest that is defined, "" of a transient one (libvirt keeps definitions in files)."""
    try:
        found = _UUID.search(plainfile.text(root / DEFINITIONS / f"{name}.xml"))
    except (OSError, ValueError):
        return ""
    return found[1] if found else ""
