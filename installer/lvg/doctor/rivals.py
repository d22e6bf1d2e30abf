"""Whoever else has a say in how the guests are stopped: scripts, other units, and drop-ins over ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from lvg import units
from lvg.doctor.installed import again, in_charge, is_up
from lvg.doctor.types import Check, Finding, HostFacts
from lvg.layout import UNIT_DIR, is_ours
from lvg.systemd import directives

FILES = (
    f"{UNIT_DIR}/",
    "/usr/lib/systemd/system-shutdown/",
    "/etc/libvirt/hooks/",
    "/etc/libvirt/hooks/qemu.d/",
    "/etc/libvirt/hooks/daemon.d/",
)
_DAEMONS = ("libvirtd.service", "virtqemud.service", "libvirtd.socket", "virtqemud.socket")
_OURS = (units.GUESTS, units.SHUTDOWN)
_STOPS = re.compile(r"^[^#\n]*\bvirsh\b[^#\n]*\b(?:shutdown|destroy|managedsave)\b", re.MULTILINE)
# What decides whether the stop is run, for how long, and what is killed meanwhile (systemd.service(5)).
_DECIDE = ("ExecStart", "ExecStop", "Type", "RemainAfterExit", "KillMode", "TimeoutStopSec", "TimeoutSec")


def _one_mechanism(facts: HostFacts) -> Iterator[Finding]:
    keys = facts.survey.auto_shutdown
    net = facts.survey.host.service
    if keys and (in_charge(facts) or net.enabled.startswith("enabled") or is_up(net.active)):
        said = ", ".join(f'{key} = "{value}"' for key, value in keys.items())
        what = "libvirt's daemon stops the guests too (/etc/libvirt/qemu.conf), and the two fight"
        yield Finding("A5", "failure", what, 'Set auto_shutdown_* to "none" there and restart the daemon.', said)


def _no_other_script(facts: HostFacts) -> Iterator[Finding]:
    """What runs at a shutdown of the host, or whenever libvirt does something; not what an admin runs by hand."""
    ours = {f"{UNIT_DIR}/{name}" for name in _OURS}
    for path, text in _texts(facts.files):
        line = _STOPS.search(text)
        if line and path not in ours and not is_ours(text.encode("utf-8", "surrogateescape")):
            what = f"{path} stops guests too, without regard to the order and the time that they need"
            yield Finding(
                "A8", "warning", what, "Take that line out, or put it into before_stop_host.", line[0].strip()
            )


def _texts(files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for path, text in files.items():
        if path.rpartition("/")[0] + "/" in FILES:
            yield path, text


def _no_foreign_drop_in(facts: HostFacts) -> Iterator[Finding]:
    for name in _OURS:
        for path in facts.units.get(name, {}).get("DropInPaths", "").split():
            text = facts.files.get(path, "")
            keys = [key for key in _DECIDE if directives(text, "Service", key)]
            if keys and not is_ours(text.encode("utf-8", "surrogateescape")):
                what = f"{path} changes how {name} stops guests: {', '.join(keys)}"
                yield Finding("A10", "warning", what, f"Look at it: systemctl cat {name}", path)


def _systemd_has_read_it(facts: HostFacts) -> Iterator[Finding]:
    for name in _OURS:
        shown = facts.units.get(name, {})
        if shown.get("NeedDaemonReload") == "yes" and shown.get("LoadState") != "masked":  # which never needs less
            what = f"{name} was changed on the disk, and systemd still goes by the old text"
            yield Finding("A15", "warning", what, "systemctl daemon-reload")


def _protected(facts: HostFacts) -> Iterator[Finding]:
    """An update may restart units: needrestart, a package's script, unattended-upgrades."""
    record = facts.survey.record
    for name in _OURS if record and record.program and record.protect else ():
        if facts.units.get(name, {}).get("RefuseManualStop") == "no":
            what = f"a package's update, or a stray systemctl restart {name}, stops all guests now"
            yield Finding("A11", "warning", what, f"{again(facts.survey)}; systemctl daemon-reload")


def _one_owner(facts: HostFacts) -> Iterator[Finding]:
    for owner in filter(None, (*facts.survey.owners, facts.survey.host.product)):
        what = f"{owner} starts and stops guests of this host by its own rules"
        if facts.policy.boot == "restore" and in_charge(facts):
            remedy = shlex.join([*shlex.split(again(facts.survey)), "--set", 'boot="ignore"'])
            worse = f"{what}, and stopvm starts them at boot: started twice, a guest destroys its disk"
            yield Finding("A9", "failure", worse, remedy)
        else:
            yield Finding("A9", "warning", what, f"Let {owner} alone stop its guests, or take them away from it.")


def _no_daemon_pulls(facts: HostFacts) -> Iterator[Finding]:
    """A unit that requires the daemon, or is a part of it, stops and restarts with it (systemd.unit(5))."""
    for name in _OURS:
        for key in ("Requires", "BindsTo", "PartOf"):
            tied = [each for each in facts.units.get(name, {}).get(key, "").split() if each in _DAEMONS]
            if tied:
                what = f"{name} has {key}={' '.join(tied)}: a restart of libvirt's daemon stops all guests"
                yield Finding("A12", "failure", what, f"systemctl cat {name} shows where; remove that line.")


CHECKS = (
    Check("A5", "only one program stops the guests", _one_mechanism),
    Check("A8", "no script stops guests beside stopvm and libvirt-guests", _no_other_script),
    Check("A9", "no cluster manager owns the guests", _one_owner),
    Check("A10", "no drop-in changes how they stop guests", _no_foreign_drop_in),
    Check("A11", "updates and stray commands cannot stop or restart them", _protected),
    Check("A12", "a restart of libvirt's daemon does not stop guests", _no_daemon_pulls),
    Check("A15", "systemd has read their unit files", _systemd_has_read_it),
)
