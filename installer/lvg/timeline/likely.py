"""What is expected of a stop: each guest takes as long as its stops have taken so far. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from lvg.stopvm import decide
from lvg.stopvm.policy import Policy
from lvg.timeline import latest, words
from lvg.timeline.latest import Frame
from lvg.timeline.placing import Key, Placed, Sums


def likely(
    rules: Policy, some: Sequence[Placed], usual: Mapping[str, float], within: float
) -> dict[Key, tuple[float, float]]:
    """Return when each guest begins and ends. One of which no stop is known takes all the time that it is given.

    `some` are in the order of waves. Saves share a disk, so all that are saved end when the last one does.
    """
    disk = Sums((one, _save(one)) for one in some)
    slots = [0.0] * rules.parallel
    ended: dict[str, float] = {}
    found = {}
    for one in some:
        begins = max([0.0, *(ended[name] for name in one.after)])
        queues = bool(slots) and not one.leaves
        if queues:
            begins = max(begins, heapq.heappop(slots))
        save = _save(one)
        took = (
            save + disk.beside(one, save) if save else _own_end(one, begins, usual, Frame(within * one.share, within))
        )
        if queues:
            heapq.heappush(slots, begins + took)
        ended[one.guest.name] = max(begins + took, ended.get(one.guest.name, 0.0))
        found[one.key] = (begins, begins + took)
    return found


def _save(one: Placed) -> float:
    """Return how long its save takes, 0 if it is asked to shut down."""
    step = decide.opening(one.guest.facts, one.policy)
    saved = step == "save" or (step == "timeout" and latest.forced_steps(one.policy)[:1] == ("save",))
    return latest.own_save(one.guest.facts) if saved and not words.cannot_save(one.guest) else 0.0


def _own_end(one: Placed, begins: float, usual: Mapping[str, float], frame: Frame) -> float:
    """Return how long a guest takes to shut itself down."""
    if one.leaves or decide.opening(one.guest.facts, one.policy) == "timeout":
        return 0.0
    asked = latest.granted(one.guest.facts, one.policy, begins, frame)
    return min(usual.get(one.guest.name, asked), asked)
