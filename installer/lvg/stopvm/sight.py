"""What the logs of all guests say at once, read while guests may be started: which runs have no end."""

from dataclasses import dataclass
from pathlib import Path

from . import powercut
from .powercut import Run


@dataclass(frozen=True)
class Sight:
    """Which guests ran before and after the logs were read, and the newest run without an end of those that have one.

    `cuts` leaves out the present run of a guest that ran before.
    """

    ran: frozenset[str]
    cuts: dict[str, str]
    run: frozenset[str]


def past_runs(root: Path, active: frozenset[str]) -> dict[str, list[Run]]:
    """Return by guest the runs that are over, if those that are `active` run now. Raises OSError."""
    logs = {name: powercut.runs(powercut.read_log(name, root)) for name in powercut.logged(root)}
    return {name: powercut.past(found, name in active) for name, found in logs.items()}


def look_around(root: Path) -> Sight:
    """Read all logs. Raises OSError."""
    ran = powercut.active(root)
    cuts = {name: powercut.cut_short(found) for name, found in past_runs(root, ran).items()}
    return Sight(ran, {name: began for name, began in cuts.items() if began}, powercut.active(root))


def sure(first: Sight, second: Sight) -> list[tuple[str, str]]:
    """Return the cuts that are none of a guest that is just being started: its log is ahead of its pid file."""
    return [
        (name, began)
        for name, began in second.cuts.items()
        if name in second.ran or (name not in second.run and first.cuts.get(name) == began)
    ]
