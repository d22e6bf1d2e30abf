"""What stops the guests: whether it is there and will run; and who else acts on them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from lvg import openrc, units, verify
from lvg.doctor.types import Check, Finding, HostFacts
from lvg.errors import FRESH, NOTHING_APPLIED
from lvg.layout import GUEST_LIST, POLICY
from lvg.survey import Survey
from lvg.timeline import limit

UNITS = (units.GUESTS, units.SHUTDOWN, units.RESTORE, units.TARGET, *limit.UNITS)
PROPERTIES = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "After",
    "Requires",
    "BindsTo",
    "PartOf",
    "Conflicts",
    "ExecStop",
    "DropInPaths",
    "NeedDaemonReload",
    "RefuseManualStop",
    *limit.PROPERTIES,
)


def again(survey: Survey) -> str:
    """Return the command that puts everything in place, as it was given the last time."""
    return shlex.join(survey.record.command) if survey.record else FRESH


def in_charge(facts: HostFacts) -> bool:
    """True if stopvm was installed here, so that libvirt-guests is only the net behind it."""
    return bool(facts.survey.record and facts.survey.record.program)


def _by_systemd(facts: HostFacts) -> bool:
    return facts.survey.host.init == "systemd"


def is_up(active: str) -> bool:
    """True for a unit that systemd stops when the host goes down, by the word that it has for its state."""
    return active in ("active", "activating", "reloading")


def _everything_seen(facts: HostFacts) -> Iterator[Finding]:
    for what in facts.failed:
        yield Finding("A0", "warning", f"not looked at: {what}", "Mend that, then run lvg doctor again.")


def _net_is_active(facts: HostFacts) -> Iterator[Finding]:
    survey = facts.survey
    if survey.auto_shutdown and not in_charge(facts):
        return  # libvirt's daemon does it; whether that works is another check's question
    if not _by_systemd(facts):
        if survey.openrc and survey.host.service.installed and openrc.GUESTS not in survey.started:
            what = "libvirt-guests is not started, so nothing catches the guests that stopvm has to leave"
            yield Finding("A1", "failure", what, "rc-update add libvirt-guests; rc-service libvirt-guests start")
        return
    unit = survey.units[units.GUESTS]
    if unit.load == "loaded":
        yield from _enabled_and_active("A1", unit.name, unit.enabled, unit.active, again(survey))


def _enabled_and_active(id_: str, name: str, enabled: str, active: str, remedy: str) -> Iterator[Finding]:
    """ExecStop= is run only of a unit that is active when the host goes down (systemd.service(5))."""
    if not is_up(active):
        what = f"{name} is {active or 'inactive'}: systemd stops nothing that was not started"
        yield Finding(id_, "failure", what, remedy, f"ActiveState={active}")
    elif not enabled.startswith(("enabled", "static", "alias")):
        what = f"{name} is {enabled}: it will be missing after the next boot"
        yield Finding(id_, "failure", what, remedy, f"UnitFileState={enabled}")


def _net_can_run(facts: HostFacts) -> Iterator[Finding]:
    host = facts.survey.host
    if not host.service.installed:
        remedy = host.advice.partition("\n")[0] or "Install the package with libvirt-guests."
        yield Finding("A2", "failure", "libvirt-guests is not installed", remedy)
        return
    if not _by_systemd(facts):
        return
    unit = facts.survey.units[units.GUESTS]
    if unit.load == "masked":
        what = "libvirt-guests.service is masked, so nothing catches the guests that stopvm has to leave"
        yield Finding("A2", "failure", what, f"systemctl unmask {unit.name}; {again(facts.survey)}", unit.fragment)
    elif unit.load != "loaded":
        yield Finding("A2", "failure", f"systemd cannot load {unit.name}: {unit.load}", f"systemctl status {unit.name}")
    else:
        yield from _program_of(facts, "A2", unit.name, "Install the package of libvirt-guests again.")


def _program_of(facts: HostFacts, id_: str, name: str, remedy: str) -> Iterator[Finding]:
    said = facts.units.get(name, {}).get("ExecStop", "")
    missing = [path for path, runs in facts.programs.items() if f"path={path} " in said and not runs]
    for path in missing:
        what = f"{path}, which {name} runs to stop the guests, is missing or cannot be run"
        yield Finding(id_, "failure", what, remedy, said)
    if facts.units.get(name) and not said:
        yield Finding(id_, "failure", f"{name} has no ExecStop=, so it stops nothing", remedy)


def _stopvm_will_run(facts: HostFacts) -> Iterator[Finding]:
    survey = facts.survey
    if not in_charge(facts):
        what = f"{NOTHING_APPLIED}: libvirt-guests alone stops the guests, one way for all of them"
        yield Finding("A3", "warning", what, FRESH)
        return
    if not facts.libvirt_module:
        what = "stopvm cannot reach libvirt: Python's libvirt module is missing"
        yield Finding("A3", "failure", what, "Install python3-libvirt (Arch: libvirt-python, Alpine: py3-libvirt).")
    if survey.openrc and openrc.SERVICE not in survey.started:
        what = f"{openrc.SERVICE} is not started: OpenRC stops nothing that was not started"
        yield Finding("A3", "failure", what, f"rc-update add {openrc.SERVICE}; rc-service {openrc.SERVICE} start")
    if _by_systemd(facts):
        yield from _unit_of_stopvm(facts)


def _unit_of_stopvm(facts: HostFacts) -> Iterator[Finding]:
    survey, remedy = facts.survey, again(facts.survey)
    unit, shown = survey.units[units.SHUTDOWN], facts.units.get(units.SHUTDOWN, {})
    if unit.load != "loaded":
        yield Finding("A3", "failure", f"{unit.name} is {unit.load}", remedy, unit.fragment)
        return
    yield from _enabled_and_active("A3", unit.name, unit.enabled, unit.active, remedy)
    yield from _program_of(facts, "A3", unit.name, remedy)
    program = survey.record.program if survey.record else ""
    said = shown.get("ExecStop", "")
    if said and f"path={program} " not in said:
        what = f"{unit.name} does not run {program} when it stops"
        yield Finding("A3", "failure", what, f"systemctl cat {unit.name}", said)
    if shown and units.GUESTS not in shown.get("After", "").split():
        what = f"{unit.name} is not ordered after libvirt-guests, so both stop the guests at once"
        yield Finding("A3", "failure", what, remedy, f"After={shown.get('After', '')}")


def _no_stale_list(facts: HostFacts) -> Iterator[Finding]:
    """libvirt-guests takes a list that is there for a sign that it has stopped already (its script)."""
    net = facts.survey.units[units.GUESTS]
    if _by_systemd(facts) and is_up(net.active) and facts.survey.state(GUEST_LIST).kind != "absent":
        what = f"{GUEST_LIST} is an old list; while it is there libvirt-guests stops no guest"
        remedy = f"Start its guests if they should run, then: rm {GUEST_LIST}"
        yield Finding("A4", "failure", what, remedy, "; ".join(facts.survey.waiting_guests))


def _as_applied(facts: HostFacts) -> Iterator[Finding]:
    survey = facts.survey
    if survey.record is None:
        return
    drift = verify.drifted(verify.rows(survey, survey.record))
    if drift:
        more = f" (and {len(drift) - 1} more)" if drift[1:] else ""
        what = f"this host is not as lvg-install left it: {drift[0]}{more}"
        yield Finding("A13", "warning", what, f"lvg status; {again(survey)}", "; ".join(drift))


def _policy_counts(facts: HostFacts) -> Iterable[Finding]:
    if not in_charge(facts):
        return
    for complaint in facts.policy.complaints:
        yield Finding("A14", "warning", complaint, again(facts.survey), POLICY)


CHECKS = (
    Check("A0", "everything could be looked at", _everything_seen),
    Check("A1", "libvirt-guests is enabled and active", _net_is_active),
    Check("A2", "libvirt-guests is installed and can run", _net_can_run),
    Check("A3", "stopvm is installed, will run, and stops guests before libvirt-guests", _stopvm_will_run),
    Check("A4", "no old list keeps libvirt-guests from stopping guests", _no_stale_list),
    Check("A13", "the host is as lvg-install left it", _as_applied),
    Check("A14", "the stop policy can be read", _policy_counts),
)
