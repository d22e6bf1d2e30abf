"""What the last stop of this boot left behind: guests that nobody brought back, and itself, if it never ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lvg import shutdowns, units
from lvg.doctor import scopes
from lvg.doctor.types import Check, Finding, HostFacts
from lvg.files import Root
from lvg.guests import running
from lvg.layout import HISTORY_DIR
from lvg.shutdowns import Past
from lvg.stopvm.history import GIVEN_UP, Entry, Record
from lvg.stopvm.verdict import MOVED

_DOWN = ("clean", "saved", "destroyed")
_PROC = Path("/proc")


class Left(NamedTuple):
    """`stopped`: guests that a stop by hand took down, still to be started. `cut_off`: its record, if it has no end."""

    stopped: tuple[Entry, ...] = ()
    cut_off: Past | None = None


def read(root: Root, proc: Path = _PROC) -> Left:
    """Return what the last stop, in this boot, left behind. That has to be asked after libvirt was.

    Nothing while a stop, a start or a rehearsal is at work. The record is read before that is asked, and once more
    behind it: one without an end is then of a stop that was there and is gone, and a guest in it that was off
    before was left behind.
    """
    first, boot = shutdowns.newest(root), shutdowns.this_boot(root)
    if _at_work(proc):
        return Left()
    last = shutdowns.newest(root)
    if last is None or last != first or not boot or last.record.boot_id != boot:
        return Left()
    unended = last.record.kind != "cut" and not last.record.ended and not last.record.restored
    return Left(_stopped(last.record), last if unended else None)


def _stopped(last: Record) -> tuple[Entry, ...]:
    pending = last.pending() if last.kind == "now" else ()
    return tuple(each for each in pending if each.verdict in _DOWN and each.persistent and each.method != MOVED)


def _at_work(proc: Path) -> bool:
    for path in proc.glob("[0-9]*/cmdline"):
        try:
            words = path.read_text(errors="replace").split("\0")
        except OSError:
            continue  # it has just ended
        names = [word.rpartition("/")[2] for word in words[:4]]
        if "stopvm" in names or ("lvg" in names and "rehearse" in names):
            return True
    return False


def they_are_back(facts: HostFacts) -> Iterator[Finding]:
    """Only a guest that libvirt knows, and that does not run, is surely off."""
    up = {guest.uuid for guest in running(facts.answers)}
    known = {(answer.uri, name) for answer in facts.answers if not answer.error for name in answer.defined}
    off = [each.name for each in facts.stopped if (each.uri, each.name) in known and each.uuid not in up]
    if off:
        who = f"{scopes.listed(off)} were" if off[1:] else "it was"
        what = f"{who} stopped by hand, or by a rehearsal that broke off, and not brought back"
        evidence = "the last record of a stop: lvg report"
        yield Finding("E17", "warning", what, "stopvm restore --now", evidence, scopes.the_one(off))


def _it_ended(facts: HostFacts) -> Iterator[Finding]:
    """Killed with SIGKILL, a stop says nothing more; systemd may be about to clean up behind it."""
    past = facts.cut_off
    if past is None or facts.units.get(units.SHUTDOWN, {}).get("ActiveState") == "deactivating":
        return
    record = past.record
    how = next((text for text in record.complaints if text.startswith(GIVEN_UP)), "stopvm was killed, or failed")
    began = f"{'by hand' if record.kind == 'now' else 'in a shutdown'}, {record.started[:30]}"
    which = f"the last stop of guests ({began}) never came to its end: {how}"
    open_ = [each.name for each in record.guests if not each.verdict and not each.restored]
    then = f"no verdict on {scopes.listed(open_)}, which may still go down" if open_ else "each guest has its verdict"
    remedy = "See who runs: virsh list --all. Then start what is off: stopvm restore --now, or stop: stopvm stop --now"
    evidence = f"{HISTORY_DIR}/{past.file} has no end, and no stopvm runs"
    yield Finding("A16", "warning", f"{which}; {then}", remedy, evidence)


CHECKS = (Check("A16", "the last stop of guests came to its end", _it_ended),)
