"""By when a guest has ended at the latest. Pure: the upper bounds of what stopvm's guest.py does, step by step.

Each step takes a time and returns a later one, in seconds from the beginning of the stop; a step that begins later
never ends earlier. It is assumed that libvirt does as it is told in the time that each request has, that a save
writes as quickly as stopvm itself plans for, and that nobody begins a snapshot or a migration meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

from lvg.profiles.policyfile import LOGIND_DELAY
from lvg.stopvm import decide, timing
from lvg.stopvm.decide import Facts
from lvg.stopvm.jobs import patience
from lvg.stopvm.policy import GuestPolicy


@dataclass(frozen=True)
class Limits:
    """stopvm's own limits, in seconds; a test compares them with its modules.

    `delay` is how long logind holds a shutdown back; `opening` when stopvm knows who runs, at the latest (a URI that
    tells it later is a round of its own). `taken` is for a request that only changes a guest's state, `answer` for an
    agent beyond a command's own time, `put_away` until the process of a guest that shut itself down is ended,
    `destroyed` for SIGTERM and SIGKILL, `least_save` for a save, however late it is, `extended` until systemd ends a
    stopvm that asks for no more time.
    """

    delay: float = LOGIND_DELAY
    opening: float = 3.0
    taken: float = 30.0
    answer: float = 25.0
    put_away: float = 15.0 + 45.0
    destroyed: float = 45.0 + 45.0
    least_save: float = 30.0
    extended: float = 10.0 + 10.0


@dataclass(frozen=True)
class Frame:
    """The time around one guest: when its wave and all waves must be done.

    `queue` are the seconds that saves of other guests may keep the disk busy meanwhile.
    """

    wave: float
    all: float
    queue: float = 0.0
    limits: Limits = Limits()


def forced_steps(policy: GuestPolicy) -> tuple[str, ...]:
    """Return what is done at the deadline, up to "leave"."""
    steps = policy.on_timeout
    return steps[: steps.index("leave")] if "leave" in steps else steps


def own_save(facts: Facts) -> float:
    """Return how long the guest's save takes if it has the disk for itself."""
    return timing.save_seconds(facts.memory)


def may_save(facts: Facts, policy: GuestPolicy) -> bool:
    """True if a save of this guest may keep the disk busy, at its deadline or before."""
    step = decide.opening(facts, policy)
    if step == "leave" or decide.why_not_save(facts):
        return False
    return decide.may_be_saved(facts, policy) or _saved_first(facts, policy, step)


def _saved_first(facts: Facts, policy: GuestPolicy, step: str) -> bool:
    """True if it is saved before it is asked, or may be: where it cannot be woken, or would start again."""
    starts_again = step == "ask" and facts.on_poweroff != "destroy"
    return step in ("save", "wake") or starts_again or _saved_by_hooks(policy)


def _saved_by_hooks(policy: GuestPolicy) -> bool:
    """True if it is saved when a command before the stop fails."""
    return bool(policy.before_stop or policy.before_stop_host) and policy.on_hook_failure == "save"


def granted(facts: Facts, policy: GuestPolicy, asked: float, frame: Frame) -> float:
    """Return how long a guest may take to shut itself down if it is asked at `asked`."""
    save = own_save(facts) if decide.may_be_saved(facts, policy) else 0.0
    return timing.guest_seconds(policy, frame.wave - asked, save)


def end(facts: Facts, policy: GuestPolicy, job: str, begins: float, frame: Frame) -> float:
    """Return by when stopvm is done with a guest that it begins with at `begins`; `job` is what holds the guest."""
    step = decide.opening(facts, policy)
    if step == "leave":
        return begins
    now = after_commands(facts, policy, begins, frame)
    if step in ("ask", "save") or _saved_by_hooks(policy):
        now = _after_job(job, now, frame)
    changes = (step == "wake") + (facts.on_poweroff != "destroy" and step in ("ask", "wake"))
    now += changes * frame.limits.taken
    if _saved_first(facts, policy, step):
        now = _after_save(facts, now, frame)
        now += ((facts.state == "paused") + (facts.on_poweroff != "destroy")) * frame.limits.taken
    if step != "timeout":
        now += granted(facts, policy, now, frame)
    return _after_force(facts, policy, now, frame)


def after_commands(facts: Facts, policy: GuestPolicy, begins: float, frame: Frame) -> float:
    """Return by when the commands before the stop are done; each has a second, however late it is."""
    inside = [frame.limits.answer] * len(policy.before_stop) if facts.agent else []
    now = begins
    for more in [*inside, *[0.0] * len(policy.before_stop_host)]:
        now += min(policy.hook_timeout, max(frame.wave - now, 1.0)) + more
    return now


def _after_job(job: str, now: float, frame: Frame) -> float:
    """Return by when another's job is done with, or aborted."""
    seconds = patience(job, frame.wave - now)
    return now + seconds + (frame.limits.taken if seconds else 0.0)


def _after_save(facts: Facts, now: float, frame: Frame) -> float:
    if decide.why_not_save(facts):
        return now
    return now + min(own_save(facts) + frame.queue, max(frame.all - now, frame.limits.least_save))


def _after_force(facts: Facts, policy: GuestPolicy, now: float, frame: Frame) -> float:
    """Return by when a guest has ended that is deaf, or that shut itself down just now and whose process stays."""
    steps, deaf, obeyed = forced_steps(policy), now, now + frame.limits.put_away
    for step in steps:
        deaf = _after_save(facts, deaf, frame) if step == "save" else deaf + frame.limits.destroyed
    return max(deaf, obeyed + (frame.limits.destroyed if "destroy" in steps else 0.0))
