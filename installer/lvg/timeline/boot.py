"""The next boot, after the next shutdown: who comes back, by whom, in which order and when. Pure.

Seconds count from the moment that stopvm begins to bring guests back, when libvirt runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lvg.guests import Guest
from lvg.stopvm import decide
from lvg.stopvm.history import Entry
from lvg.stopvm.policy import Policy
from lvg.stopvm.settle import needed, start_order

AGENT_WITHIN = 120.0  # seconds that a guest's agent has to come up (stopvm's restore.py)
TURN_WITHIN = 15.0  # seconds after which a start that is not through holds up no other one (the same)

By = Literal["stopvm", "libvirt", "libvirt-guests", "nobody"]


@dataclass(frozen=True)
class Start:
    """How one guest comes back, if it does.

    `by`: "libvirt" is its autostart. `wave` counts from 0; `after` are the guests that must be up before. `begins` is
    when it is started at the soonest, `begins_late` if every start and every agent before it takes all of its time.
    `waits` is how it counts as up: "agent", or "" as soon as it runs. `why` says why nobody starts it.
    """

    name: str
    uri: str
    by: By
    wave: int = 0
    after: tuple[str, ...] = ()
    begins: float = 0.0
    begins_late: float = 0.0
    start_delay: float = 0.0
    waits: str = ""
    why: str = ""


@dataclass(frozen=True)
class Boot:
    """All guests that run now, those first that start first. `expected` and `worst` are when the last one is up."""

    starts: tuple[Start, ...]
    expected: float
    worst: float


def boot(rules: Policy, guests: Sequence[Guest], on_boot: str) -> Boot:
    """Return what becomes of these guests at the next boot. `on_boot` is what libvirt-guests will do: start, ignore."""
    if rules.boot != "restore":
        others = sorted(guests, key=lambda guest: (guest.name, guest.uri))
        return Boot(tuple(_without_stopvm(rules, guest, on_boot) for guest in others), 0.0, 0.0)
    known = {(guest.uri, guest.name): guest for guest in guests if guest.persistent}
    entries = start_order(rules, [Entry(uri, known[uri, name].uuid, name) for uri, name in known])
    needs = needed(rules, [entry.name for entry in entries])
    waves = _waves(entries, needs)
    soon, last_soon = _turns(rules, entries, known, needs, 0.0, 0.0)
    late, last_late = _turns(rules, entries, known, needs, TURN_WITHIN, AGENT_WITHIN)
    starts = []
    for place, entry in enumerate(entries):
        policy = rules.for_guest(entry.name)
        by: By = "libvirt" if known[entry.uri, entry.name].autostart else "stopvm"
        starts.append(
            Start(
                entry.name,
                entry.uri,
                by,
                waves[entry.name],
                tuple(needs[entry.name]),
                soon[place],
                late[place],
                policy.start_delay,
                policy.wait_for,
            )
        )
    starts.sort(key=lambda start: (start.wave, start.begins_late, start.name))
    lost = [Start(guest.name, guest.uri, "nobody", why="transient") for guest in guests if not guest.persistent]
    return Boot((*starts, *lost), last_soon, last_late)


def _without_stopvm(rules: Policy, guest: Guest, on_boot: str) -> Start:
    """Return what becomes of a guest that stopvm does not bring back. libvirt-guests starts those that it stopped."""
    if not guest.persistent:
        return Start(guest.name, guest.uri, "nobody", why="transient")
    if guest.autostart:
        return Start(guest.name, guest.uri, "libvirt")
    if on_boot == "start" and decide.opening(guest.facts, rules.for_guest(guest.name)) == "leave":
        return Start(guest.name, guest.uri, "libvirt-guests")
    return Start(guest.name, guest.uri, "nobody", why="boot = ignore")


def _waves(entries: Sequence[Entry], needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the wave of each guest; where a circle of needs was cut, one may stand before a guest that it needs."""
    found: dict[str, int] = {}
    left = [entry.name for entry in entries]
    while left:
        for name in [each for each in left if all(other in found for other in needs[each])]:
            found[name] = 1 + max((found[other] for other in needs[name]), default=-1)
        left = [name for name in left if name not in found]
    return found


def _turns(  # noqa: PLR0913, PLR0917  # what is known of all guests, and how long two things take
    rules: Policy,
    entries: Sequence[Entry],
    known: Mapping[tuple[str, str], Guest],
    needs: Mapping[str, Sequence[str]],
    start: float,
    agent: float,
) -> tuple[list[float], float]:
    """Return when each guest is started, and when the last one is up.

    A start takes `start` seconds and an agent then `agent`. One that libvirt has started already takes no turn.
    """
    begins, up, turn = [0.0] * len(entries), dict[str, float](), 0.0
    left = list(range(len(entries)))
    while left:
        ready = [place for place in left if all(name in up for name in needs[entries[place].name])]
        first = min(ready, key=lambda place: (_ready(needs[entries[place].name], up), place))
        left.remove(first)
        entry, policy = entries[first], rules.for_guest(entries[first].name)
        runs = known[entry.uri, entry.name].autostart
        begins[first] = max(turn, _ready(needs[entry.name], up))
        running = begins[first] + (0.0 if runs else start)
        turn = begins[first] if runs else running + policy.start_delay
        done = running + (agent if policy.wait_for == "agent" else 0.0)
        up[entry.name] = max(done, up.get(entry.name, 0.0))
    return begins, max(up.values(), default=0.0)


def _ready(needs: Sequence[str], up: Mapping[str, float]) -> float:
    return max((up[name] for name in needs), default=0.0)
