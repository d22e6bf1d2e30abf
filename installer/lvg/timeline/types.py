"""A stop of all guests that has not happened yet, in seconds from the order to power off or to reboot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What becomes of one guest.

    `wave` 0 is first; `after` are the guests whose end it waits for. `methods` are the ways it is asked, in turn, none
    if it is not asked; `what` says in words what is done first, `forced` what happens at its deadline. `usual` is how
    long its stops have taken so far, None if there is no clean one on record: then the time it is given is expected.
    `begins` and `ends` are what is expected, `begins_late` and `deadline` the worst case; the end of a save that is
    tried at the deadline included. `granted` is how long it may take to shut itself down, which the time for all may
    make less than its `timeout`. `left`: libvirt-guests may have to stop it, or has to, if it `waits_for_net`.
    """

    name: str
    uri: str
    wave: int
    after: tuple[str, ...]
    methods: tuple[str, ...]
    what: str
    forced: str
    timeout: float
    usual: float | None
    begins: float
    ends: float
    begins_late: float
    deadline: float
    granted: float = 0.0
    left: bool = False
    waits_for_net: bool = False

    @property
    def guessed(self) -> bool:
        """True if its expected end is only the time that it is given."""
        return self.usual is None and bool(self.methods)


@dataclass(frozen=True)
class Timeline:
    """All guests, those first that stop first.

    `budget` is what stopvm may use, `net` what libvirt-guests may use behind it, `limit` when systemd cuts the power
    off (None: it does not), `worst` and `expected` when the last guest has ended. `wrong` is what is wrong with the
    order. `within` is what is left of the budget so that the net still fits; `delay` is logind's, before anything
    begins; `stopped` is when stopvm is done at the latest.
    """

    steps: tuple[Step, ...]
    budget: float
    net: float
    limit: float | None
    worst: float
    expected: float
    wrong: tuple[str, ...] = ()
    within: float = 0.0
    delay: float = 0.0
    stopped: float = 0.0

    def fits(self, ups: float | None = None) -> bool:
        """True if the worst case ends before systemd's limit, and before the UPS does."""
        ends = [each for each in (self.limit, ups) if each is not None]
        return all(self.worst <= end for end in ends)

    def waves(self) -> tuple[tuple[Step, ...], ...]:
        """Return the guests wave by wave."""
        numbers = sorted({step.wave for step in self.steps})
        return tuple(tuple(step for step in self.steps if step.wave == number) for number in numbers)
