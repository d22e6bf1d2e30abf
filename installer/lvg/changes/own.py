"""The files and links that are lvg's own: program, units, drop-ins, policy, enablement."""

import json
from collections.abc import Mapping

from lvg import openrc, systemd, units
from lvg.filestate import FileState, file_state, link_state
from lvg.layout import (
    LOCAL_PROGRAM,
    OPENRC_LINK,
    OPENRC_SCRIPT,
    POLICY,
    STOP_LINK,
    STOP_SCRIPT,
    dropin_path,
    unit_path,
)
from lvg.profiles import Profile, compile_policy
from lvg.stoppolicy import number_of
from lvg.survey import Survey, program_path


def own_files(survey: Survey, profile: Profile, in_force: Mapping[str, str]) -> dict[str, FileState]:
    """Return what every file of ours has to be; `in_force` are the settings that libvirt-guests will see.

    A distro package ships the program and the units, so these are then left out. Without systemd or OpenRC nothing
    would run stopvm, so nothing comes.
    """
    if survey.host.init not in ("systemd", "openrc"):
        return {}
    program = program_path(survey.packaged)
    policy = compile_policy(profile, openrc.to_upstream(in_force, survey.host.dialect))
    found = {POLICY: file_state(json.dumps(policy, indent=1).encode() + b"\n", 0o600)}
    if not survey.packaged:
        found[LOCAL_PROGRAM] = file_state(survey.program, 0o755)
    if survey.host.init == "openrc":
        script = openrc.graceful_shutdown(program, bool(profile.stop["protect"]), number_of(profile.stop["budget"]))
        return {**found, STOP_SCRIPT: file_state(script.encode(), 0o755)}
    if not survey.packaged:
        found[unit_path(units.SHUTDOWN)] = file_state(units.graceful_shutdown(program).encode())
        found[unit_path(units.RESTORE)] = file_state(units.graceful_restore(program).encode())
    return {**found, **_dropins(profile, policy)}


def _dropins(profile: Profile, policy: Mapping[str, object]) -> dict[str, FileState]:
    protect = bool(profile.stop["protect"])
    texts = {
        dropin_path(unit, units.DROP_IN): units.dropin(unit, protect)
        for unit in (units.GUESTS, units.TARGET, units.SHUTDOWN)
    }
    for unit in (units.SHUTDOWN, units.RESTORE):
        texts[dropin_path(unit, units.LIFT_DROP_IN)] = units.lift_dropin(policy, unit)
    return {path: file_state(text.encode()) for path, text in texts.items() if text}


def links(survey: Survey) -> dict[str, tuple[str, FileState]]:
    """Return the links that enable libvirt-guests and our units: path -> (unit, link)."""
    if survey.host.init == "openrc":
        return {**_openrc_link(survey), STOP_LINK: (openrc.SERVICE, link_state(STOP_SCRIPT))}
    if survey.host.init != "systemd":
        return {}
    found: dict[str, tuple[str, FileState]] = {}
    for unit, text, fragment in _enablable(survey):
        wanted = systemd.install_links(unit, text, fragment)
        by_us = survey.record is not None and any(path in survey.record.files for path, _ in wanted)
        if survey.units[unit].enabled != "enabled" or by_us or unit != units.GUESTS:
            found |= {path: (unit, link_state(target)) for path, target in wanted}
    return found


def _openrc_link(survey: Survey) -> dict[str, tuple[str, FileState]]:
    by_us = survey.record is not None and OPENRC_LINK in survey.record.files
    if not survey.host.service.installed or (survey.state(OPENRC_LINK).kind != "absent" and not by_us):
        return {}
    return {OPENRC_LINK: ("libvirt-guests", link_state(OPENRC_SCRIPT))}


def _enablable(survey: Survey) -> list[tuple[str, str, str]]:
    net = survey.units[units.GUESTS]
    found = [(units.GUESTS, net.text, net.fragment)] if net.load == "loaded" else []
    for unit, make in ((units.SHUTDOWN, units.graceful_shutdown), (units.RESTORE, units.graceful_restore)):
        path = survey.vendor.get(unit, unit_path(unit))
        found.append((unit, make(program_path(survey.packaged)), path))
    return found
