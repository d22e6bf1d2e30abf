"""The table of all checks, in the order in which they are shown."""

import re

from lvg.doctor import config, eachguest, installed, ordering, releases, resources, rivals, stopped
from lvg.doctor.types import Check


def _place(check: Check) -> tuple[str, int, str]:
    """Sort by the group's letter, then by number: A2 stands before A10, and C4 before C4b."""
    found = re.fullmatch(r"([A-Z])(\d+)(\w*)", check.id)
    return (found[1], int(found[2]), found[3]) if found else (check.id, 0, "")


CHECKS: tuple[Check, ...] = tuple(
    sorted(
        (
            *installed.CHECKS,
            *releases.CHECKS,
            *rivals.CHECKS,
            *stopped.CHECKS,
            *config.CHECKS,
            *ordering.CHECKS,
            *resources.CHECKS,
            *eachguest.CHECKS,
        ),
        key=_place,
    )
)
