"""What the logs of all guests say at once, read while guests may be started: which runs have no end."""

from dataclasses import dataclass
from pathlib import Path

from . import powercut


@dataclass(frozen=True)
class Sight:
    """Which guests ran before and after the logs were read, and the newest run without an end of those that have one.

    `cuts` leaves out the present run of a guest that ran before.
    """

    ran: frozenset[str]
    cuts: dict[str, str]
    run: frozenset[str]


def look_around(root: Path) -> Sight:
    """Read all logs. Raises OSError."""
    ran = powercut.active(root)
    logs = {name: powercut.runs(powercut.read_log(name, root)) for name in powercut.logged(root)}
    cuts = {name: powercut.cut_short(powercut.past(found, name in ran)) for name, found in logs.items()}
    return Sight(ran, {name: began for name, began in cuts.items() if began}, powercut.active(root))


def sure(first: Sight, second: Sight) -> list[tuple[str, str]]:
    """Return the cuts that are none of a guest that is just being started: its log is ahead of its pid file."""
    return [
        (name, began)
        for name, began in second.cuts.items()
        if name in second.ran or (name not in second.run and first.cuts.get(name) == began)
    ]
