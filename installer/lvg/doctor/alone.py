"""The rules of a host where stopvm was not installed: libvirt-guests does it all, by its own file."""

from __future__ import annotations

from lvg.changes.net import net_of
from lvg.doctor.types import Settings
from lvg.stopvm.policy import GuestPolicy, Net, Policy
from lvg.survey import Survey

_OPENRC_SECONDS = 500  # LIBVIRT_MAXWAIT, if it is not set (OpenRC's init script)
_AT_ONCE = 100  # OpenRC's service asks all guests at once


def in_force(rules: Policy, survey: Survey, settings: Settings) -> Policy:
    """Return the rules that a shutdown would go by: those of stopvm, if it is installed."""
    if survey.record and survey.record.program:
        return rules
    openrc = survey.host.dialect == "openrc"
    values = settings.values
    net = Net(
        on_shutdown=net_of(values, survey.host).shutdown,
        shutdown_timeout=_number(values.get("LIBVIRT_MAXWAIT" if openrc else "SHUTDOWN_TIMEOUT", ""), openrc),
        parallel=_AT_ONCE if openrc else int(_number(values.get("PARALLEL_SHUTDOWN", "0"), openrc)),
    )
    uris = tuple(values.get("LIBVIRT_URIS" if openrc else "URIS", "").split()) or ("default",)
    return Policy(profile="(libvirt-guests alone)", uris=uris, base=GuestPolicy(action="none"), net=net)


def _number(text: str, openrc: bool) -> float:
    """Return a number of the file, else the default of the time; values that are wrong are a check's question."""
    return float(text) if text.isdecimal() else _OPENRC_SECONDS if openrc else 300.0
