"""Facts of a host that is fine, for the checks of the doctor: a test breaks one of them and sees what is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from lvg import units
from lvg.detect import Host, Service
from lvg.distros import Distro
from lvg.doctor import Finding, HostFacts, config
from lvg.doctor.types import Settings
from lvg.files import Root
from lvg.filestate import FileState, file_state
from lvg.guests import Answer, Guest
from lvg.layout import LOCAL_PROGRAM, POLICY
from lvg.record import Record
from lvg.settings import SETTINGS
from lvg.stopvm.policy import Policy
from lvg.survey import Survey
from lvg.systemd import Unit
from lvg.timeline import Step, Timeline

CONFIG = "/etc/default/libvirt-guests"
SCRIPT = "/usr/lib/libvirt/libvirt-guests.sh"
SAVES = "/var/lib/libvirt/qemu/save"
VALUES = {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown", "PARALLEL_SHUTDOWN": "100", "SHUTDOWN_TIMEOUT": "240"}

# What `systemctl show` says on a Debian 12 host with the graceful profile.
SHOWN: Mapping[str, Mapping[str, str]] = {
    units.GUESTS: {
        "LoadState": "loaded",
        "UnitFileState": "enabled",
        "ActiveState": "active",
        "After": "virt-guest-shutdown.target libvirtd.socket network.target system.slice sysinit.target basic.target",
        "Before": "multi-user.target shutdown.target graceful-shutdown.service graceful-restore.service",
        "Requires": "sysinit.target system.slice",
        "RequiredBy": "",
        "BindsTo": "",
        "PartOf": "",
        "Conflicts": "shutdown.target",
        "ExecStop": f"{{ path={SCRIPT} ; argv[]={SCRIPT} stop ; ignore_errors=no ; start_time=[n/a] }}",
        "TimeoutStopUSec": "infinity",
        "DropInPaths": "/etc/systemd/system/libvirt-guests.service.d/50-lvg.conf",
    },
    units.SHUTDOWN: {
        "LoadState": "loaded",
        "UnitFileState": "enabled",
        "ActiveState": "active",
        "After": "libvirt-guests.service virt-guest-shutdown.target network.target network-online.target "
        "remote-fs.target iscsid.service rbdmap.service zfs.target openvswitch-switch.service system.slice",
        "Before": "graceful-restore.service multi-user.target shutdown.target",
        "Requires": "sysinit.target system.slice var.mount -.mount",
        "RequiredBy": "",
        "BindsTo": "",
        "PartOf": "",
        "Conflicts": "shutdown.target",
        "ExecStop": f"{{ path={LOCAL_PROGRAM} ; argv[]={LOCAL_PROGRAM} stop ; ignore_errors=no ; start_time=[n/a] }}",
        "TimeoutStopUSec": "15s",
        "DropInPaths": "/etc/systemd/system/graceful-shutdown.service.d/50-lvg.conf",
    },
}


def guest(name: str, uuid: str = "", **changes: object) -> Guest:
    """A guest that runs, with an agent that answers."""
    fine = Guest(uuid=uuid or f"uuid-of-{name}", name=name, memory=1024.0, agent="ok", os="Debian GNU/Linux 12")
    return replace(fine, **changes)  # type: ignore[arg-type]  # a test's own words


def step(name: str, **changes: object) -> Step:
    """What becomes of a guest that is shut down within a minute."""
    fine = Step(
        name=name,
        uri="default",
        wave=0,
        after=(),
        methods=("agent", "acpi"),
        what="asked to shut down",
        forced="saved",
        timeout=240.0,
        usual=20.0,
        begins=0.0,
        ends=20.0,
        begins_late=0.0,
        deadline=240.0,
    )
    return replace(fine, **changes)  # type: ignore[arg-type]  # a test's own words


def timeline(*steps: Step, **changes: object) -> Timeline:
    """The next shutdown: all at once, with room to spare."""
    fine = Timeline(steps=steps, budget=1200.0, net=240.0, limit=1800.0, worst=485.0, expected=25.0)
    return replace(fine, **changes)  # type: ignore[arg-type]  # a test's own words


def settings_file(values: Mapping[str, str] = VALUES, more: str = "") -> FileState:
    """A file of libvirt-guests with these values, and `more` lines behind them."""
    return file_state(("".join(f"{key}={value}\n" for key, value in values.items()) + more).encode())


def record() -> Record:
    """What applying graceful to this host left."""
    return Record(
        version="1",
        when="2026-11-23T03:26:19+00:00",
        profile="graceful",
        summary="Shut guests down cleanly",
        command=("lvg-install", "--profile", "graceful"),
        delivery="edit",
        config_file=CONFIG,
        settings_path=CONFIG,
        asked_distro="",
        asked_config="",
        dialect="upstream",
        init="systemd",
        net="loaded",
        program=LOCAL_PROGRAM,
        protect=True,
        enable=True,
        start=True,
        live=True,
        settings=dict(VALUES),
    )


def unit(name: str, **changes: object) -> Unit:
    """A unit that is loaded, enabled and active."""
    folder = "/lib/systemd/system" if name in (units.GUESTS, units.TARGET) else "/etc/systemd/system"
    fine = Unit(name, "loaded", "enabled", "enabled", "active", "Mon 2026-11-23 03:26:19 UTC", f"{folder}/{name}")
    return replace(fine, **changes)  # type: ignore[arg-type]  # a test's own words


def survey(**changes: object) -> Survey:
    """What a survey of this host finds: Debian 12, graceful applied, everything in place."""
    names = (units.GUESTS, units.SHUTDOWN, units.RESTORE, units.TARGET)
    fine = Survey(
        host=Host(
            root=Root(),
            distro=Distro("debian", (), "12", "Debian GNU/Linux", "debian", supported=True),
            supported=True,
            advice="",
            init="systemd",
            config_file=CONFIG,
            config_exists=True,
            dialect="upstream",
            service=Service(
                installed=True,
                unit=f"/lib/systemd/system/{units.GUESTS}",
                script=SCRIPT,
                enabled="enabled",
                active="active",
                version="9.0.0",
                keys=frozenset(SETTINGS),
            ),
        ),
        config_path=CONFIG,
        states={
            CONFIG: settings_file(),
            POLICY: file_state(b"{}\n", 0o600),
            LOCAL_PROGRAM: file_state(b"#!/usr/bin/python3 -I\n", 0o755),
        },
        units={name: unit(name) for name in names},
        record=record(),
        checkpoints=(),
        owners=(),
        auto_shutdown={},
        waiting_guests=(),
        guests=1,
        vendor={},
        foreign_vendor=None,
        running=True,
        openrc=False,
        started=frozenset(),
        program=b"",
    )
    return replace(fine, **changes)  # type: ignore[arg-type]  # a test's own words


def facts(*guests: Guest, **changes: object) -> HostFacts:
    """A host on which all is well, with these guests (one, "vm", if none is given)."""
    running = guests or (guest("vm"),)
    names = tuple(each.name for each in running)
    fine = HostFacts(
        survey=survey(),
        policy=Policy(profile="graceful", boot="restore"),
        timeline=timeline(*(step(name) for name in names)),
        settings=Settings(CONFIG, settings_file().data, VALUES),
        units=SHOWN,
        answers=(Answer("default", "qemu:///system", version=9_000_000, guests=running, defined=names, seconds=0.1),),
        free={SAVES: 100_000.0},
        programs={SCRIPT: True, LOCAL_PROGRAM: True},
    )
    return replace(fine, **changes)  # type: ignore[arg-type]  # a test's own words


def with_survey(found: HostFacts, **changes: object) -> HostFacts:
    """The same host with another survey, e.g. with_survey(facts(), owners=("pacemaker",))."""
    return replace(found, survey=replace(found.survey, **changes))  # type: ignore[arg-type]  # a test's own words


def with_service(found: HostFacts, **changes: object) -> HostFacts:
    """The same host with another libvirt-guests, e.g. with_service(facts(), version="12.1.0")."""
    host = found.survey.host
    service = replace(host.service, **changes)  # type: ignore[arg-type]  # a test's own words
    return with_survey(found, host=replace(host, service=service))


def with_unit(found: HostFacts, name: str, **properties: str) -> HostFacts:
    """The same host where systemd says something else of one unit, both to the survey and to `systemctl show`."""
    shown = {**found.units, name: {**found.units.get(name, {}), **properties}}
    words = {"LoadState": "load", "UnitFileState": "enabled", "ActiveState": "active"}
    said = {words[key]: value for key, value in properties.items() if key in words}
    known = found.survey.units
    changed = {name: replace(known[name], **said)} if name in known else {}  # type: ignore[arg-type]
    return replace(with_survey(found, units={**known, **changed}), units=shown)


def with_file(found: HostFacts, path: str, text: str) -> HostFacts:
    """The same host with a configuration file of another program."""
    return replace(found, files={**found.files, path: text})


def with_settings(found: HostFacts, data: str) -> HostFacts:
    """The same host with another text in libvirt-guests' file; nothing was applied, so it is no drift."""
    states = {**found.survey.states, CONFIG: file_state(data.encode())}
    changed = with_survey(found, states=states, record=replace(record(), settings={}))
    return replace(changed, settings=config.read(changed.survey))


def with_policy(found: HostFacts, **changes: object) -> HostFacts:
    """The same host with another policy of stopvm."""
    return replace(found, policy=replace(found.policy, **changes))  # type: ignore[arg-type]  # a test's own words


def ids(look: Callable[[HostFacts], Iterable[Finding]], found: HostFacts) -> list[tuple[str, str, str]]:
    """What a check finds: id, severity and guest of each finding; it must have a message and a remedy."""
    findings = list(look(found))
    assert all(each.message and each.remedy for each in findings), findings
    return [(each.id, each.severity, each.guest) for each in findings]
