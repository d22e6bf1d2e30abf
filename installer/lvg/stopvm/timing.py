"""How much time there is, and who may use it: pure functions. All times are seconds."""

from collections.abc import Iterable
from typing import NamedTuple

from .policy import GuestPolicy, Policy

# systemd forces a power-off 30 minutes after it was asked for (JobTimeoutSec= of poweroff.target); one minute is
# left for everything that stops after the guests.
_SYSTEMD_LIMIT = 1740.0
_LEAST = 120.0  # seconds we work at least, whatever the net would need
_NET_SAVES = 300.0  # seconds that libvirt-guests gets to save what is left to it
_FORCED_WITHIN = 60.0  # seconds kept for a destroy at the deadline, if there are as many
_SAVED_MIB = 50.0  # a second: a slow disk; a save that is quicker than planned is no harm
_SAVE_STARTS = 5.0  # seconds of a save before and after its writing


class Saving(NamedTuple):
    """A guest that could be saved when time runs short. `seconds`: how long that takes."""

    key: tuple[str, str]
    wave: int
    seconds: float


def work_seconds(policy: Policy, guests: int, host_goes_down: bool) -> float:
    """Return how long all of the stop may take, so that libvirt-guests still fits behind it."""
    if not host_goes_down:
        return policy.budget
    return min(policy.budget, max(_SYSTEMD_LIMIT - _net_seconds(policy, guests), _LEAST))


def _net_seconds(policy: Policy, guests: int) -> float:
    """Return what is kept for libvirt-guests: its timeout is one guest's, in parallel that of all of one URI's.

    For saves it has none.
    """
    if policy.net.on_shutdown != "shutdown":
        return _NET_SAVES
    rounds = len(policy.uris) if policy.net.parallel > 1 else guests
    return policy.net.shutdown_timeout * max(rounds, 1)


def guest_seconds(policy: GuestPolicy, left: float, save: float = 0.0) -> float:
    """Return how long a guest may take from its first request, if `left` seconds remain for its wave.

    What `on_timeout` needs is kept: for a save `save` seconds, at most half of what is left; for a destroy a tenth,
    at most a minute; for "leave" nothing.
    """
    forced = any(step != "leave" for step in policy.on_timeout)
    kept = min(_FORCED_WITHIN, left / 10) if forced else 0.0
    if "save" in policy.on_timeout:
        kept = max(kept, min(save, left / 2))
    return max(0.0, min(policy.timeout, left - kept))


def wave_share(wave: int, waves: int) -> float:
    """Return the share of all time after which wave number `wave` (0 first) must be done."""
    return (wave + 1) / max(waves, 1)


def save_seconds(mib: float) -> float:
    """Return how long the save of a guest with so much memory (MiB) takes, if it has the disk for itself."""
    return _SAVE_STARTS + mib / _SAVED_MIB


def save_starts(guests: Iterable[Saving], begin: float, end: float) -> dict[tuple[str, str], float]:
    """Return when the save of each guest has to begin at the latest, so that all that still run are saved at `end`.

    They share a disk, so each has its turn: wave by wave, the longest save first. For half of the time between
    `begin` and `end` the guests are left to shut down by themselves, whatever a save would need; one whose save alone
    does not fit into the other half is never cut short for it.
    """
    half = begin + (end - begin) / 2
    turns = [each for each in guests if half + each.seconds <= end]
    starts: dict[tuple[str, str], float] = {}
    start = end
    for each in sorted(turns, key=lambda each: (-each.wave, each.seconds, each.key)):  # from the last one back
        start -= each.seconds
        starts[each.key] = max(start, half)
    return starts
