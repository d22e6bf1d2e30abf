"""Guests that take longer than they have, or are on their way there: judged by the stops so far. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lvg.shutdowns import Past, clean_times, median, usual
from lvg.stopvm.history import Entry
from lvg.stopvm.policy import Policy
from lvg.tomltext import match

_NEAR = 0.8  # of its timeout: a guest that usually takes so long is late on a bad day
_LATELY = 3  # stops that are held against those before them
_GROWS = 1.5  # times as long as before
_WORTH = 0.25  # of its timeout: nobody need care about a guest that grew from 2 to 4 seconds
_LATEST = 10


@dataclass(frozen=True)
class Warned:
    """One guest that needs more time. `usual` is None if it never ended clean; `wanted` is the timeout it needs."""

    guest: str
    what: str
    usual: float | None
    timeout: float
    wanted: float

    @property
    def remedy(self) -> str:
        """What to do about it, on one line."""
        if self.usual is None:
            return "it may not react at all: lvg doctor"
        return f"add to the profile: [[guest]], {match(self.guest)}, timeout = {self.wanted:.0f}"


def warnings(pasts: Sequence[Past], policy: Policy) -> tuple[Warned, ...]:
    """Return the guests that are slower than their timeout allows, or will be soon, by name."""
    times, usually = clean_times(pasts), usual(pasts)
    found = []
    for name, stops in sorted(_stops(pasts).items()):
        rules = policy.for_guest(name)
        if rules.action == "shutdown":
            what, seconds = _judged(stops, times.get(name, []), usually.get(name), rules.timeout)
            found += [Warned(name, what, usually.get(name), rules.timeout, _rounded(2 * seconds))] if what else []
    return tuple(found)


def _stops(pasts: Iterable[Past]) -> dict[str, list[Entry]]:
    """Return what became of each guest at its stops, in the order of `pasts`. One that lost power was not stopped."""
    stops: dict[str, list[Entry]] = {}
    for each in pasts:
        for entry in each.record.guests if each.record.kind in ("shutdown", "now") else ():
            if entry.verdict not in ("", "lost"):
                stops.setdefault(entry.name, []).append(entry)
    return stops


def _judged(stops: Sequence[Entry], times: Sequence[float], usually: float | None, timeout: float) -> tuple[str, float]:
    """Return what is wrong with a guest's times, "" if nothing is, and how long it takes."""
    late = [_ran_out(entry, timeout) for entry in stops[:_LATEST]]
    if late[0]:
        often = f"{sum(late)} of its last {len(late)} stops" if len(late) > 1 else "its last stop"
        return f"did not end within its {timeout:.0f} s at {often}", timeout
    if usually is not None and usually > _NEAR * timeout:
        return f"usually takes {usually:.0f} s of its {timeout:.0f} s", usually
    lately, before = times[:_LATELY], times[_LATELY : _LATELY + _LATEST]
    if len(before) < _LATELY:
        return "", 0
    now, then = median(lately), median(before)
    if now > _GROWS * then and now > _WORTH * timeout:
        return f"takes longer than before: {now:.0f} s of its {timeout:.0f} s, once it was {then:.0f} s", now
    return "", 0


def _ran_out(entry: Entry, timeout: float) -> bool:
    """True if the guest had to be forced, or was left, after about its time: more time may be what it needs."""
    return not entry.wanted and entry.verdict in ("saved", "destroyed", "left") and entry.seconds >= _NEAR * timeout


def _rounded(seconds: float) -> float:
    """Return a time as a person would write it, in whole minutes."""
    return math.ceil(seconds / 60) * 60
