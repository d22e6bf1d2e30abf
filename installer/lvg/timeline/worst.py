"""The worst case of a stop: when each guest begins, and by when it has ended, at the latest. Pure.

In which order libvirt lists the guests is not known beforehand, so each of them may be the last to get a slot
where only so many are stopped at once, and the last one for which the disk has time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lvg.stopvm.policy import Policy
from lvg.timeline import latest
from lvg.timeline.latest import Frame, Limits
from lvg.timeline.placing import Key, Placed, Sums


@dataclass(frozen=True)
class Late:
    """When a guest begins and ends at the latest; how long it is then `granted` to shut itself down."""

    begins: float
    ends: float
    granted: float


def worst(rules: Policy, some: Sequence[Placed], within: float, limits: Limits) -> dict[Key, Late]:
    """Return the worst case of each guest. `some` are in the order of waves; `within` is stopvm's time for all."""
    given_up = within + limits.least_save + limits.extended  # then systemd ends stopvm
    saves = Sums((one, one.save) for one in some)
    frames = {one.key: _frame(one, saves, within, limits) for one in some}
    spans = {one.key: _end(one, 0.0, frames[one.key]) for one in some}
    turns = Sums((one, spans[one.key]) for one in some)
    queues = rules.parallel and sum(not one.leaves for one in some) > rules.parallel
    ended: dict[str, float] = {}
    found = {}
    for one in some:
        frame = frames[one.key]
        begins = max([limits.opening, *(ended[name] for name in one.after)])
        if queues and not one.leaves:
            begins += turns.beside(one, spans[one.key]) / rules.parallel
        begins = min(begins, given_up)
        asked = latest.after_commands(one.guest.facts, one.policy, begins, frame)
        ends = min(_end(one, begins, frame), given_up)
        ended[one.guest.name] = max(ends, ended.get(one.guest.name, 0.0))
        found[one.key] = Late(begins, ends, latest.granted(one.guest.facts, one.policy, asked, frame))
    return found


def _frame(one: Placed, saves: Sums, within: float, limits: Limits) -> Frame:
    end = limits.opening + (within - limits.opening) * one.share
    return Frame(end, within, saves.beside(one, one.save), limits)


def _end(one: Placed, begins: float, frame: Frame) -> float:
    return latest.end(one.guest.facts, one.policy, one.guest.job, begins, frame)
