"""Each guest's place in the order of a stop, by stopvm's own rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lvg.guests import Guest
from lvg.stopvm import decide, order, timing
from lvg.stopvm.policy import GuestPolicy, Policy
from lvg.timeline import latest

Key = tuple[str, str]


@dataclass(frozen=True)
class Placed:
    """One guest with its place. `share` of the time for all ends its wave; `after` is whom it waits for.

    `apart` are the names of all guests that have ended before it begins, or begin when it has ended.
    """

    guest: Guest
    policy: GuestPolicy
    wave: int
    share: float
    after: tuple[str, ...]
    apart: frozenset[str]

    @property
    def key(self) -> Key:
        """What makes it one guest among those of all URIs."""
        return self.guest.uri, self.guest.uuid or self.guest.name

    @property
    def leaves(self) -> bool:
        """True if stopvm leaves it to libvirt-guests without asking it."""
        return decide.opening(self.guest.facts, self.policy) == "leave"

    @property
    def save(self) -> float:
        """How long a save of it may keep the disk busy, 0 if it is never saved."""
        facts = self.guest.facts
        return latest.own_save(facts) if latest.may_save(facts, self.policy) else 0.0


class Sums:
    """A number of seconds for each guest, and what that makes for all that may be at work at the same time."""

    def __init__(self, seconds: Iterable[tuple[Placed, float]]) -> None:
        self._by_name: dict[str, float] = {}
        for one, value in seconds:
            self._by_name[one.guest.name] = self._by_name.get(one.guest.name, 0.0) + value
        self._total = sum(self._by_name.values())

    def beside(self, one: Placed, own: float) -> float:
        """Return the sum over the others that may be at work while `one` is, which itself has `own` seconds."""
        apart = sum(self._by_name[name] for name in one.apart)
        return max(self._total - apart - own, 0.0)


def place(rules: Policy, guests: Sequence[Guest]) -> tuple[list[Placed], list[str]]:
    """Return the guests wave by wave, and what is wrong with what they need."""
    policies = {guest.name: rules.for_guest(guest.name) for guest in guests}
    needs = {name: policy.needs for name, policy in policies.items() if policy.needs}
    after, wrong = order.dependants(list(policies), needs)
    waves = order.waves(after)
    apart = _apart(after, waves)
    last = max(waves.values(), default=0) + 1
    found = [_placed(guest, policies[guest.name], waves[guest.name], last, after, apart) for guest in guests]
    return sorted(found, key=lambda one: one.wave), wrong


def _placed(  # noqa: PLR0913, PLR0917  # one for each thing that is known by name
    guest: Guest,
    policy: GuestPolicy,
    wave: int,
    waves: int,
    after: Mapping[str, frozenset[str]],
    apart: Mapping[str, frozenset[str]],
) -> Placed:
    share = timing.wave_share(wave, waves)
    return Placed(guest, policy, wave, share, tuple(sorted(after[guest.name])), apart[guest.name])


def _apart(after: Mapping[str, frozenset[str]], waves: Mapping[str, int]) -> dict[str, frozenset[str]]:
    """Return for each guest those that are never at work while it is."""
    before: dict[str, frozenset[str]] = {}
    for name in sorted(after, key=waves.__getitem__):
        before[name] = after[name].union(*(before[other] for other in after[name]))
    found = {name: set(others) for name, others in before.items()}
    for name, others in before.items():
        for other in others:
            found[other].add(name)
    return {name: frozenset(others) for name, others in found.items()}
