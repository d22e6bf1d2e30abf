"""The UPS: whether it has power for as long as the guests may take, and orders a shutdown that stops them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lvg.doctor import ups
from lvg.doctor.scopes import is_up
from lvg.doctor.types import Check, Finding, HostFacts

FILES = ups.FILES
_NUT_UNITS = ("nut-monitor.service", "upsmon.service")
_APC_UNITS = ("apcupsd.service",)
UNITS = (*_NUT_UNITS, *_APC_UNITS)
_ENDS = r"\b(?:poweroff|reboot|halt|kexec)\b"
_FORCE = r"\s(?:-[a-z]*f[a-z]*|--force)\b"
# Services are not stopped then (systemctl(1), --force), and guests end with the host.
_FORCED = re.compile(rf"{_ENDS}[^;&|]*{_FORCE}|\bsystemctl\b[^;&|]*{_FORCE}[^;&|]*{_ENDS}|/proc/sysrq-trigger")


def _in_use(facts: HostFacts, names: tuple[str, ...]) -> bool:
    """True if the service is started, by systemd or by OpenRC (whose names have no suffix)."""
    by_systemd = any(is_up(facts, name) for name in names)
    return by_systemd or any(name.removesuffix(".service") in facts.survey.started for name in names)


def _lasts(facts: HostFacts) -> Iterator[Finding]:
    worst = facts.timeline.worst if facts.timeline.steps else 0.0
    supplies = [
        ups.nut(facts.files, facts.ups, worst) if _in_use(facts, _NUT_UNITS) else None,
        ups.apc(facts.files, worst) if _in_use(facts, _APC_UNITS) else None,
    ]
    for supply in supplies:
        if supply and worst > supply.seconds:
            left = f"power for {max(supply.seconds, 0.0):.0f} s may be left when the UPS ({supply.name}) orders it"
            what = f"stopping all guests may take {worst:.0f} s, and {left}"
            yield Finding("D3", "warning" if supply.early else "failure", what, supply.remedy, supply.where)


def _no_force(facts: HostFacts) -> Iterator[Finding]:
    if _in_use(facts, _NUT_UNITS):
        for where, line in ups.lines(facts.files, "upsmon.conf"):
            if line.startswith("SHUTDOWNCMD") and _FORCED.search(line):
                what = "when the battery is low NUT switches the host off, and no guest is stopped"
                remedy = f'In {where.partition(":")[0]}: SHUTDOWNCMD "/sbin/shutdown -h +0"; then restart nut-monitor.'
                yield Finding("D5", "failure", what, remedy, f"{where}: {line}")
        yield from _forced_in(facts, ups.NUT, "upssched-cmd")
    if _in_use(facts, _APC_UNITS):
        yield from _forced_in(facts, (ups.APC,), "apccontrol")
        yield from _forced_in(facts, (ups.APC,), "doshutdown")


def _forced_in(facts: HostFacts, folders: tuple[str, ...], name: str) -> Iterator[Finding]:
    """Whether a script comes to such a line is not known, so this is a warning."""
    for where, line in ups.lines(facts.files, name, folders):
        if _FORCED.search(line):
            what = f"{where.rpartition(':')[0]} can switch the host off without stopping its guests"
            yield Finding("D5", "warning", what, "Use there: /sbin/shutdown -h now", f"{where}: {line}")


CHECKS = (
    Check("D3", "the UPS has power until all guests are down", _lasts),
    Check("D5", "the UPS orders a shutdown that stops guests", _no_force),
)
