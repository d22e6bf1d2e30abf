"""When systemd ends a shutdown that takes too long, by switching the power off. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lvg import systemd

UNITS = ("poweroff.target", "reboot.target")
PROPERTIES = ("JobTimeoutUSec", "JobTimeoutAction")


def limit_of(units: Mapping[str, Mapping[str, str]]) -> float | None:
    """Return the seconds after which systemd cuts a shutdown or a reboot off; None if it does not (systemd.unit(5)).

    `units` has the PROPERTIES of UNITS, as `systemctl show` prints them; none without systemd.
    """
    forced = [units[name] for name in UNITS if units.get(name, {}).get("JobTimeoutAction", "none") not in ("", "none")]
    found = (systemd.span(each.get("JobTimeoutUSec", "")) for each in forced)
    return min((each for each in found if each is not None), default=None)
