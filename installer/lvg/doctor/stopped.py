"""Guests that a stop by hand, or a rehearsal that broke off, took down, and that nobody brought back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lvg import shutdowns
from lvg.doctor import scopes
from lvg.doctor.types import Finding, HostFacts
from lvg.files import Root
from lvg.guests import running
from lvg.stopvm.history import Entry
from lvg.stopvm.verdict import MOVED

_DOWN = ("clean", "saved", "destroyed")
_PROC = Path("/proc")


def read(root: Root, proc: Path = _PROC) -> tuple[Entry, ...]:
    """Return the guests that the last stop, by hand and in this boot, took down and that are still to be started.

    None while a stop, a start or a rehearsal is at work. That has to be asked after libvirt was, and before the record
    is read: then a guest that is off and in the record was left behind.
    """
    if _at_work(proc):
        return ()
    pasts, boot = shutdowns.past(root)[0], shutdowns.this_boot(root)
    if not pasts or not boot:
        return ()
    last = pasts[0].record
    if last.kind != "now" or last.boot_id != boot or last.at_work(boot):
        return ()
    return tuple(each for each in last.pending() if each.verdict in _DOWN and each.persistent and each.method != MOVED)


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
