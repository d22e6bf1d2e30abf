"""A stop of all guests that has not happened yet, in seconds from its beginning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What becomes of one guest.

    `wave` 0 is first; `after` are the guests whose end it waits for. `methods` are the ways it is asked, in turn, none
    if it is not asked; `what` says in words what is done first, `forced` what happens at its deadline. `usual` is how
    long its stops have taken so far, None if there is no clean one on record. `begins` and `ends` are what is
    expected, `begins_late` and `deadline` the worst case; the end of a save that is tried at the deadline included.
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


@dataclass(frozen=True)
class Timeline:
    """All guests, those first that stop first.

    `budget` is what stopvm may use, `net` what libvirt-guests may use behind it, `limit` when systemd cuts the power
    off (None: it does not), `worst` and `expected` when the last guest has ended. `wrong` is what is wrong with the
    order.
    """

    steps: tuple[Step, ...]
    budget: float
    net: float
    limit: float | None
    worst: float
    expected: float
    wrong: tuple[str, ...] = ()

    def fits(self, ups: float | None = None) -> bool:
        """True if the worst case ends before systemd's limit, and before the UPS does."""
        ends = [each for each in (self.limit, ups) if each is not None]
        return all(self.worst <= end for end in ends)
