"""What a rehearsal will do with each guest, and what it did: pure functions, in plain words."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lvg.guests import Guest
from lvg.rehearsal.choose import start_command
from lvg.stopvm import decide, order, timing
from lvg.stopvm.history import Entry
from lvg.stopvm.policy import GuestPolicy, Policy

_ASK = {"agent": "its guest agent", "acpi": "its power button"}
_WIDTH = 79  # columns
_FORCE = {
    "save": "its memory is saved to disk, and it goes on from there",
    "destroy": "it is switched off as if its plug were pulled, and what it has not written to its disks is lost",
    "leave": "it is left running",
}


@dataclass(frozen=True)
class Part:
    """One guest's part. It stops in `wave` (0 is first) and has `seconds` for it."""

    guest: Guest
    policy: GuestPolicy
    wave: int
    seconds: float


def parts(guests: Sequence[Guest], rules: Policy) -> tuple[Part, ...]:
    """Return the part of each guest, those first that stop first."""
    policies = {guest.name: rules.for_guest(guest.name) for guest in guests}
    after, _ = order.dependants(list(policies), {name: policy.needs for name, policy in policies.items()})
    waves = order.waves(after)
    last = max(waves.values(), default=0) + 1

    def part(guest: Guest) -> Part:
        policy, wave = policies[guest.name], waves[guest.name]
        may_be_saved = decide.may_be_saved(guest.facts, policy)
        save = timing.save_seconds(guest.memory) if may_be_saved else 0.0
        within = rules.budget * timing.wave_share(wave, last)
        return Part(guest, policy, wave, timing.guest_seconds(policy, within, save))

    return tuple(sorted(map(part, guests), key=lambda part: (part.wave, part.guest.name)))


def stop_seconds(some: Sequence[Part]) -> float:
    """Return how long all of them may take to stop, one wave after another, without what is done at a deadline."""
    waves = {part.wave for part in some}
    return sum(max(part.seconds for part in some if part.wave == wave) for wave in waves)


def foretold(part: Part) -> list[str]:
    """Return what will happen to a guest, as lines for a terminal."""
    agent = ", and its guest agent waited for" if part.policy.wait_for == "agent" else ""
    sentences = [*_commands(part.policy), *_stop(part), f"then it is started again{agent}"]
    wrapper = textwrap.TextWrapper(
        _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [_shown(f"{part.guest.name}:"), *(line for sentence in sentences for line in wrapper.wrap(sentence))]


def _commands(policy: GuestPolicy) -> Iterator[str]:
    for command in policy.before_stop:
        yield f"first, inside it: {shlex.join(command)}"
    for command in policy.before_stop_host:
        yield f"first, on this host: {shlex.join(command)}"


def _stop(part: Part) -> Iterator[str]:
    facts, policy = part.guest.facts, part.policy
    instead = ""
    if decide.opening(facts, policy) == "save":
        cannot = decide.why_not_save(facts)
        paused = ", and stays paused" if facts.state == "paused" else ""
        yield f"it cannot be saved: {cannot}" if cannot else f"{_FORCE['save']}{paused}"
        instead = "" if cannot else "if that fails, "
    if facts.state == "pmsuspended":
        yield "it sleeps: it is woken first"
    again = f", again every {policy.resend:.0f} s" if policy.resend else ""
    ways = ", then by ".join(_ASK[way] for way in decide.methods(facts, policy))
    yield f"{instead}it is asked to shut down by {ways}{again}"
    forced = _forced(part)
    yield f"if it has not ended after {part.seconds:.0f} s, {forced[0]}"
    for step in forced[1:]:
        yield f"if that fails, {step}"


def _forced(part: Part) -> list[str]:
    """Return what is done at the deadline, in turn, without what this guest cannot have; in the end it is left."""
    facts = part.guest.facts
    steps = [step for step in part.policy.on_timeout if step != "save" or not decide.why_not_save(facts)]
    if "leave" not in steps:
        steps.append("leave")
    return [_FORCE[step] for step in steps[: steps.index("leave") + 1]]


@dataclass(frozen=True)
class Outcome:
    """What became of a guest: stopvm's record of its stop (None: there is none), and whether it runs again.

    `up` is None if that cannot be told; `back` is how many seconds its start took, None if nobody saw it.
    """

    part: Part
    entry: Entry | None
    up: bool | None
    back: float | None

    @property
    def good(self) -> bool:
        """True if the guest ended as the policy wants it, and is back."""
        return bool(self.entry and self.entry.wanted and self.entry.verdict not in ("", "left", "lost") and self.up)


def outcome_line(outcome: Outcome) -> str:
    """Return one line about what became of a guest."""
    name, entry = outcome.part.guest.name, outcome.entry
    its = f"its timeout is {outcome.part.policy.timeout:.0f} s"
    return _shown(f"{name}: {_stopped(entry)}, {_back(outcome)}; {its}")


def _shown(line: str) -> str:
    """Return a line that stays one, whatever a guest calls itself."""
    return line.replace("\n", "\\n")


def _stopped(entry: Entry | None) -> str:
    if entry is None or not entry.verdict:
        return "nobody knows how it ended"
    after = f"after {entry.seconds:.1f} s"
    if entry.verdict == "left":
        return f"did NOT end ({entry.detail or 'it was left running'})"
    if entry.verdict == "lost":
        return f"its process ended {after}, with no sign that it shut down"
    how = f" ({entry.method})" if entry.verdict == "clean" and entry.method else ""
    forced = "" if entry.wanted else ": it did not end by itself"
    return f"{entry.verdict} {after}{how}{forced}"


def _back(outcome: Outcome) -> str:
    entry = outcome.entry
    if outcome.up is None:
        return "and whether it is back cannot be told: libvirt does not answer"
    if not outcome.up:
        return "and it is NOT back"
    if entry is None or entry.verdict in ("", "left"):
        return "it runs"
    return "back" if outcome.back is None else f"back after {outcome.back:.1f} s"


def remedies(outcome: Outcome) -> list[str]:
    """Return what to do about a guest that is not back, or that may still go down; nothing if all is well."""
    return [_shown(line) for line in _remedies(outcome)]


def _remedies(outcome: Outcome) -> list[str]:
    guest, entry = outcome.part.guest, outcome.entry
    start = start_command(guest.name, guest.uri)
    if outcome.up is None:
        return [f"Whether {guest.name} is back has to be looked at: virsh list --all. If it is not: {start}"]
    if not outcome.up:
        return [f"{guest.name} is not back. Start it: {start}"]
    if entry is None or entry.verdict in ("", "left"):
        return [f"{guest.name} was asked to shut down and may still do so. If it does, start it: {start}"]
    return []
