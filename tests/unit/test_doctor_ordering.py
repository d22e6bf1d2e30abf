"""The order in which systemd stops what guests depend on: each check fires, and is silent on a healthy host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from doctorhost import facts, guest, ids, step, timeline, unit, with_survey, with_unit
from lvg import systemd, units
from lvg.doctor import Finding, HostFacts, Qemu, ordering, processes, qemus
from lvg.guests import Answer

# What `systemctl show` says on Debian 12 and 13, each with a guest that runs.
SCOPE = r"machine-qemu\x2d1\x2dvm.scope"
SHOWN = r"""
Id=machine-qemu\x2d1\x2dvm.scope
Before=shutdown.target virt-guest-shutdown.target
After=machine.slice virtqemud.service libvirtd.service
LoadState=loaded
ActiveState=active
UnitFileState=transient
TimeoutStopUSec=1min 30s

Id=virt-guest-shutdown.target
Before=libvirt-guests.service shutdown.target graceful-shutdown.service
After="machine-qemu\\x2d1\\x2dvm.scope"
LoadState=loaded
ActiveState=active
UnitFileState=static

Id=libvirtd.service
Before=multi-user.target "machine-qemu\\x2d1\\x2dvm.scope" shutdown.target
After=libvirtd-admin.socket libvirtd.socket dbus.service systemd-machined.service network.target remote-fs.target
LoadState=loaded
ActiveState=active
UnitFileState=enabled
TimeoutStopUSec=1min 30s

Id=libvirtd.socket
Before=libvirt-guests.service libvirtd-admin.socket shutdown.target libvirtd-ro.socket libvirtd.service sockets.target
After=-.mount system.slice sysinit.target
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Id=virtqemud.service
Before="machine-qemu\\x2d1\\x2dvm.scope"
After=
LoadState=not-found
ActiveState=inactive
UnitFileState=

Id=virtqemud.socket
Before=libvirt-guests.service
After=
LoadState=not-found
ActiveState=inactive
UnitFileState=

Id=systemd-machined.service
Before=libvirtd.service
After=
LoadState=loaded
ActiveState=active
UnitFileState=static

Id=poweroff.target
LoadState=loaded
ActiveState=inactive
JobTimeoutUSec=30min
JobTimeoutAction=poweroff-force
"""
NAMES = (SCOPE, units.TARGET, "libvirtd.service", "libvirtd.socket", "virtqemud.service", "virtqemud.socket")
VM = guest("vm", pid=99)
# The arguments of QEMU as libvirt 9.0 and 11.3 give them, and of one that somebody started by hand.
BY_LIBVIRT = (
    '/usr/bin/qemu-system-x86_64|-name|guest=vm,debug-threads=on|-S|-object|{"qom-type":"secret","id":"masterKey0",'
    '"format":"raw","file":"/var/lib/libvirt/qemu/domain-1-vm/master-key.aes"}|-machine|pc-i440fx-7.2,usb=off'
)
BY_A_USER = BY_LIBVIRT.replace("/var/lib/libvirt/qemu/", "/root/.config/libvirt/qemu/lib/")
BY_HAND = "/usr/bin/qemu-system-x86_64|-name|lab|-m|2048|-drive|file=lab.qcow2"
A_QUESTION = "/usr/bin/qemu-system-x86_64|-S|-no-user-config|-nodefaults|-nographic|-machine|none,accel=kvm:tcg"
STATUS = "Name:\tqemu-system-x86\nUid:\t64055\t64055\t64055\t64055\nVmRSS:\t  204800 kB\nVmSwap:\t    2048 kB\n"


def host(**changes: object) -> HostFacts:
    """A healthy host whose guest has a scope."""
    shown = systemd.parse_show(SHOWN, (*NAMES, "systemd-machined.service", "poweroff.target"))
    found = facts(VM, scopes={99: SCOPE}, qemus=(Qemu(99, "vm", "system", 64055, 200.0),))
    return replace(found, units={**found.units, **shown}, **changes)  # type: ignore[arg-type]  # a test's own words


def without_us(found: HostFacts) -> HostFacts:
    """The same host without stopvm."""
    gone = with_unit(found, units.SHUTDOWN, LoadState="not-found", ActiveState="inactive")
    return with_survey(gone, record=None)


def look(name: str, found: HostFacts) -> list[Finding]:
    (check,) = (each for each in ordering.CHECKS if each.id == name)
    return list(check.look(found))


def severities(name: str, found: HostFacts) -> list[tuple[str, str, str]]:
    (check,) = (each for each in ordering.CHECKS if each.id == name)
    return ids(check.look, found)


@pytest.mark.parametrize("check", ordering.CHECKS, ids=lambda check: check.id)
def test_a_healthy_host_is_silent(check: object) -> None:
    for found in (host(), without_us(host()), facts(), replace(host(), units={}, scopes={}, qemus=())):
        assert list(check.look(found)) == []  # type: ignore[attr-defined]


def test_a_guest_without_scope_loses_power_unless_stopvm_is_there() -> None:
    other = guest("other", pid=7)
    found = with_unit(host(), "systemd-machined.service", LoadState="masked", ActiveState="inactive")
    found = replace(found, answers=(replace(found.answers[0], guests=(VM, other)),), scopes={99: SCOPE, 7: ""})
    assert severities("C1", found) == [("C1", "warning", "other")]
    assert severities("C1", without_us(found)) == [("C1", "failure", "other")]
    assert severities("C1", with_unit(found, units.SHUTDOWN, ActiveState="inactive")) == [("C1", "failure", "other")]
    (finding,) = look("C1", found)
    assert finding.remedy.startswith("systemctl unmask systemd-machined.service; systemctl restart libvirtd.service")
    assert finding.remedy.endswith("; virsh managedsave other && virsh start other")
    assert "masked" in finding.evidence


@pytest.mark.parametrize(
    ("family", "begins"),
    [
        ("debian", "apt-get install systemd-container; systemctl restart libvirtd.service; virsh managedsave vm"),
        ("fedora", "dnf install systemd-container; systemctl restart"),
        ("rhel", "dnf install systemd-container; systemctl restart"),
        ("suse", "zypper install systemd-container; systemctl restart"),
        ("arch", "pacman -S systemd; systemctl restart"),
        ("gentoo", "Install systemd-machined, then: systemctl restart"),
    ],
)
def test_machined_is_installed_as_it_is_on_that_distro(family: str, begins: str) -> None:
    found = replace(with_unit(host(), "systemd-machined.service", LoadState="not-found"), scopes={99: ""})
    seen = found.survey.host
    found = with_survey(found, host=replace(seen, distro=replace(seen.distro, family=family)))
    assert look("C1", found)[0].remedy.startswith(begins)


def test_a_daemon_that_waits_for_the_stop_needs_no_scopes_for_that() -> None:
    found = with_unit(replace(host(), scopes={99: ""}), units.TARGET, After="libvirtd.service virtqemud.service")
    assert severities("C1", found) == []
    assert severities("C1", with_unit(found, "libvirtd.service", ActiveState="inactive")) == [("C1", "warning", "vm")]
    assert severities("C1", with_unit(found, units.TARGET, ActiveState="inactive")) == [("C1", "warning", "vm")]


def test_many_guests_without_scopes_are_one_finding() -> None:
    many = tuple(guest(f"vm{number}", pid=number) for number in range(100, 120))
    found = with_unit(host(), "systemd-machined.service", LoadState="not-found")
    found = replace(found, answers=(replace(found.answers[0], guests=many),), scopes={each.pid: "" for each in many})
    (finding,) = look("C1", found)
    assert finding.guest == ""
    assert "vm100, vm101, vm102, vm103, vm104 and 15 more" in finding.message
    assert finding.remedy.startswith(
        "apt-get install systemd-container; systemctl restart libvirtd.service; for guest in"
    )
    assert "vm119" in finding.remedy


def test_a_guest_that_cannot_be_saved_is_stopped_and_started_for_a_scope() -> None:
    passed = guest("gpu", pid=99, hostdev=True)
    found = replace(host(), answers=(replace(host().answers[0], guests=(passed,)),), scopes={99: ""})
    assert look("C1", found)[0].remedy.startswith("lvg rehearse gpu")


def test_a_guest_in_the_scope_of_a_login_session_is_killed_whoever_stops_guests() -> None:
    found = with_unit(replace(host(), scopes={99: "session-4.scope"}), units.TARGET, After="libvirtd.service")
    (finding,) = look("C1", found)
    assert (finding.severity, finding.guest, finding.evidence) == ("failure", "vm", "session-4.scope")
    assert "before a guest can shut down" in finding.message
    assert finding.remedy == "virsh managedsave vm && virsh start vm"
    others = (VM, guest("two", pid=7), guest("bare", pid=8))
    found = replace(host(), answers=(replace(host().answers[0], guests=others),))
    found = replace(found, scopes={99: "session-4.scope", 7: "session-5.scope", 8: ""})
    assert severities("C1", found) == [("C1", "failure", ""), ("C1", "warning", "bare")]


def test_guests_of_other_hosts_and_of_users_have_no_scope_here() -> None:
    for uri in ("qemu+ssh://other/system", "qemu:///session"):
        found = replace(host(), answers=(Answer(uri, uri, guests=(VM,)),), scopes={99: ""})
        assert severities("C1", found) == []


def test_a_scope_that_does_not_wait_for_the_stop() -> None:
    found = with_unit(host(), SCOPE, Before="libvirtd.service shutdown.target", After="machine.slice")
    assert severities("C2", found) == [("C2", "failure", "vm")]
    (finding,) = look("C2", found)
    assert finding.remedy == "virsh managedsave vm && virsh start vm"
    assert finding.evidence.startswith(SCOPE)
    assert severities("C2", with_survey(found, auto_shutdown={"auto_shutdown_poweroff": "all"})) == []
    assert severities("C2", with_unit(found, SCOPE, ActiveState="inactive")) == [], "it has ended meanwhile"


def test_names_of_guests_are_safe_to_paste() -> None:
    found = with_unit(host(), SCOPE, Before="shutdown.target")
    found = replace(found, answers=(replace(found.answers[0], guests=(guest("my vm; reboot", pid=99),)),))
    (finding,) = look("C2", found)
    assert finding.remedy == "virsh managedsave 'my vm; reboot' && virsh start 'my vm; reboot'"


def test_the_target_that_scopes_wait_for() -> None:
    found = with_unit(host(), units.GUESTS, After="network.target libvirtd.socket")
    assert severities("C3", found) == [("C3", "failure", "")]
    (finding,) = look("C3", found)
    assert "/etc/systemd/system/libvirt-guests.service.d" in finding.remedy
    assert severities("C3", with_unit(host(), units.TARGET, ActiveState="inactive")) == [("C3", "failure", "")]
    stopped = with_unit(host(), units.GUESTS, ActiveState="inactive", After="")
    stopped = with_unit(stopped, units.SHUTDOWN, ActiveState="inactive")
    assert severities("C3", with_unit(stopped, units.TARGET, ActiveState="inactive")) == [], "nobody stops guests here"


def test_an_order_that_makes_a_stop_wait_for_itself() -> None:
    after = f"{units.TARGET} libvirtd.service libvirtd.socket"
    found = with_unit(host(), units.GUESTS, After=after)
    assert severities("C4", found) == [("C4", "warning", "")]
    by_itself = with_unit(found, "libvirtd.socket", ActiveState="inactive", UnitFileState="masked")
    assert severities("C4", by_itself) == [], "without sockets nobody starts it"


def test_a_daemon_that_is_down_while_its_guests_run() -> None:
    found = with_unit(host(), "libvirtd.service", ActiveState="inactive")
    assert severities("C4b", found) == [], "it was started by the question, and answered"
    found = replace(found, answers=(Answer("default", error="Failed to connect socket"),))
    assert severities("C4b", found) == [("C4b", "warning", "")]
    assert severities("C4b", without_us(found)) == [("C4b", "failure", "")]
    (finding,) = look("C4b", found)
    assert ("vm" in finding.message, finding.remedy) == (True, "systemctl start libvirtd.service")
    assert severities("C4b", replace(found, qemus=())) == [], "no guest runs"
    assert severities("C4b", with_unit(found, "libvirtd.service", ActiveState="active")) == [], "it only hangs"


def test_two_daemons_for_the_same_guests() -> None:
    found = with_unit(host(), "virtqemud.service", LoadState="loaded")
    found = with_unit(found, "virtqemud.socket", LoadState="loaded", UnitFileState="enabled")
    assert severities("C5", found) == [("C5", "warning", "")]
    assert look("C5", found)[0].remedy == "systemctl disable virtqemud.service virtqemud.socket"


@pytest.mark.parametrize(
    ("worst", "limit", "expected"),
    [
        (1700.0, 1800.0, []),
        (1760.0, 1800.0, [("C6", "warning", "")]),
        (1825.0, 1800.0, [("C6", "failure", "")]),
        (1825.0, None, []),
    ],
)
def test_a_stop_that_systemd_cuts_off(worst: float, limit: float | None, expected: list[tuple[str, str, str]]) -> None:
    plan = timeline(step("vm"), worst=worst, limit=limit)
    found = replace(host(), timeline=plan)
    assert severities("C6", found) == expected
    for finding in look("C6", found):
        assert f"{worst:.0f} s" in finding.message
        assert finding.remedy.startswith("lvg-install --profile graceful --set")
        assert "JobTimeoutUSec=30min" in finding.evidence


def test_a_stop_unit_of_somebody_else_needs_time() -> None:
    recipe = unit(units.SHUTDOWN, text="[Service]\nExecStop=/usr/local/bin/stopvm.sh\n")
    found = with_unit(without_us(host()), units.SHUTDOWN, ActiveState="active", TimeoutStopUSec="1min 30s")
    known = {**found.survey.units, units.SHUTDOWN: recipe}
    found = with_survey(found, units=known)
    assert severities("C7", found) == [("C7", "failure", "")]
    for enough in ("infinity", "4min"):
        assert severities("C7", with_unit(found, units.SHUTDOWN, TimeoutStopUSec=enough)) == []
    ours = unit(units.SHUTDOWN, text="# Installed by lvg-install\n[Service]\n")
    assert severities("C7", with_survey(found, units={**known, units.SHUTDOWN: ours})) == [], "stopvm asks for more"


def test_libvirt_guests_cut_short_by_a_drop_in() -> None:
    found = with_unit(host(), units.GUESTS, TimeoutStopUSec="1min 30s")
    assert severities("C7", found) == [("C7", "warning", "")]
    assert severities("C7", without_us(found)) == [("C7", "failure", "")]


def process(words: str, pid: int = 99) -> Qemu | None:
    return qemus.described(pid, words.split("|"), STATUS)


def test_whose_a_qemu_process_is() -> None:
    assert process(BY_LIBVIRT) == Qemu(99, "vm", "system", 64055, 202.0)
    old = "qemu-kvm|-name|guest=vm|-object|secret,id=masterKey0,format=raw,file=/var/lib/libvirt/qemu/domain-1-vm/"
    assert process(f"{old}master-key.aes") == Qemu(99, "vm", "system", 64055, 202.0)
    assert process(BY_A_USER) == Qemu(99, "vm", "session", 64055, 202.0)
    assert process(BY_HAND) == Qemu(99, "lab", "", 64055, 202.0)
    assert process(A_QUESTION) is None
    assert process("/usr/bin/qemu-system-x86_64|-name|guestfs-a1b2|-machine|q35") is None


def test_processes_are_read_and_may_end_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "99").mkdir()
    (tmp_path / "99/cmdline").write_text(BY_HAND.replace("|", "\0") + "\0")
    (tmp_path / "99/status").write_text(STATUS)
    assert qemus.read((99, 100), tmp_path) == (Qemu(99, "lab", "", 64055, 202.0),)


@pytest.mark.parametrize(
    "text",
    [
        "9:name=systemd:/machine.slice/machine-qemu\\x2d1\\x2dvm.scope\n8:pids:/\n0::/machine.slice/x.scope\n",
        "0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator\n",
    ],
)
def test_the_scope_is_found_in_both_kinds_of_cgroups(text: str) -> None:
    assert processes.scope_in(text) == SCOPE


def with_process(words: str, **changes: object) -> HostFacts:
    found = process(words, 7)
    assert found
    return replace(host(), qemus=(*host().qemus, found), **changes)  # type: ignore[arg-type]  # a test's own words


def test_guests_of_a_user() -> None:
    assert severities("C12", with_process(BY_A_USER)) == [("C12", "warning", "")]
    newer: Mapping[str, object] = {"answers": (replace(host().answers[0], version=11_003_000),)}
    assert severities("C12", with_process(BY_A_USER, **newer)) == [], "its daemon stops them itself"
    own = Answer("qemu:///session", "qemu:///session", guests=(guest("vm", pid=7),))
    assert severities("C12", with_process(BY_A_USER, answers=(*host().answers, own))) == [], "the policy stops it"


def test_a_qemu_that_libvirt_did_not_start() -> None:
    found = with_process(BY_HAND)
    assert severities("C13", found) == [("C13", "warning", "")]
    assert "lab" in look("C13", found)[0].message
    inside = replace(found, scopes={99: SCOPE, 7: "docker-0123456789ab.scope"})
    assert severities("C13", inside) == [], "a container is somebody else's"
