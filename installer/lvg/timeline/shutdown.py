"""The next shutdown: every guest in its wave, with what is expected of it and the worst that can come. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lvg.guests import Guest
from lvg.stopvm import timing
from lvg.stopvm.policy import Policy
from lvg.timeline import net, words
from lvg.timeline.latest import Limits
from lvg.timeline.likely import likely
from lvg.timeline.placing import Placed, place
from lvg.timeline.types import Step, Timeline
from lvg.timeline.worst import Late, worst


def of(
    rules: Policy,
    guests: Sequence[Guest],
    usual: Mapping[str, float],
    limit: float | None,
    limits: Limits = Limits(),  # noqa: B008  # it is frozen
) -> Timeline:
    """Return the next shutdown of these guests.

    `usual` has the seconds that a guest's stops have taken so far, by name. `limit` is when systemd cuts the power off,
    None for never.
    """
    delay = limits.delay
    some, wrong = place(rules, guests)
    within = timing.work_seconds(rules, len(guests), host_goes_down=True)
    late = worst(rules, some, within, limits)
    soon = likely(rules, some, usual, within)
    stopped = max((late[one.key].ends for one in some if not one.leaves), default=0.0)
    done = max((soon[one.key][1] for one in some if not one.leaves), default=0.0)
    behind = net.seconds(rules.net, [one.guest for one in some if net.may_be_left(one.guest, one.policy)], limit)
    steps = []
    for one in some:
        step = _step(one, soon[one.key], late[one.key], usual.get(one.guest.name))
        steps.append(_delayed(_by_net(rules, step, done, stopped, behind) if one.leaves else step, delay))
    return Timeline(
        steps=tuple(sorted(steps, key=lambda step: (step.wave, step.name, step.uri))),
        budget=rules.budget,
        net=behind,
        limit=limit,
        worst=delay + stopped + behind if steps else 0.0,
        expected=max((step.ends for step in steps), default=0.0),
        wrong=tuple(wrong),
        within=within,
        delay=delay,
        stopped=delay + stopped,
    )


def _step(one: Placed, soon: tuple[float, float], late: Late, usual: float | None) -> Step:
    guest, policy = one.guest, one.policy
    asked = words.methods(guest, policy)
    return Step(
        name=guest.name,
        uri=guest.uri,
        wave=one.wave,
        after=one.after,
        methods=asked,
        what=words.first(guest, policy),
        forced=words.forced(guest, policy),
        timeout=policy.timeout,
        usual=usual,
        begins=min(soon[0], late.begins),
        ends=min(soon[1], late.ends),
        begins_late=late.begins,
        deadline=late.ends,
        granted=late.granted if asked else 0.0,
        left=net.may_be_left(guest, policy),
        waits_for_net=one.leaves,
    )


def _by_net(rules: Policy, step: Step, done: float, stopped: float, behind: float) -> Step:
    """Return the step of a guest that libvirt-guests stops by the policy: it begins when stopvm is done."""
    usual = step.usual if rules.net.on_shutdown == "shutdown" else None
    took = behind if usual is None else min(usual, behind)
    return replace(step, begins=done, ends=done + took, begins_late=stopped, deadline=stopped + behind)


def _delayed(step: Step, delay: float) -> Step:
    times = {name: getattr(step, name) + delay for name in ("begins", "ends", "begins_late", "deadline")}
    return replace(step, **times)
