"""libvirtd is gone, dies or hangs when the host goes down, or is stopped with us: QEMU itself is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guests import Guest, check_disks, define, mark, serial, start, wait_alive
from install import assert_sandboxed, copy_checkout, install_own, last_stop
from machine import Machine

UNIT = "graceful-shutdown"
GONE, DIES = "libvirtd is killed before the stop", "libvirtd is killed while guests go down"
SILENT, FALLS_SILENT = "libvirtd is stopped (SIGSTOP) before the stop", "libvirtd is stopped while guests go down"
SOCKETS = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket"
PROFILE = """
[stopvm]
resend = 20

[[guest]]
match = "slow"
needs = ["nas"]

[[guest]]
match = "nas"
resend = 0
"""


def _install(machine: Machine) -> None:
    install_own(machine, PROFILE)
    assert_sandboxed(machine)  # and all that follows works so


def _by(machine: Machine) -> dict[str, str]:
    """The method by which each guest of the last stop ended cleanly; all of them did, unless they were saved."""
    record = last_stop(machine)
    assert {guest["verdict"] for guest in record["guests"] if guest["method"] != "save"} == {"clean"}
    assert record["exit_code"] == 0
    return {guest["name"]: guest["method"] for guest in record["guests"]}


def _ended(machine: Machine, ids: dict[str, str], scenario: str = "") -> None:
    """All ended by themselves; with the machine off, their disks are clean, too."""
    for name, boot_id in ids.items():
        assert boot_id in serial(machine, name).ended, f"{name} did not end by itself"
    if not machine.on:
        check_disks(machine, *ids, scenario=scenario)


def _daemon(machine: Machine) -> str:
    return machine.run(["systemctl", "show", "-P", "MainPID", "libvirtd"]).stdout.strip()


def _begin_a_save(machine: Machine, name: str) -> None:
    """Begin a save that cannot end: nobody reads the pipe that it goes into. It pauses the guest."""
    machine.run("mkfifo /srv/pipe; setsid sh -c 'exec sleep 600 </srv/pipe' >/dev/null 2>&1 &")
    machine.run(f"setsid virsh save {name} /srv/pipe >/dev/null 2>&1 &")
    state = ["virsh", "domstate", name]
    machine.wait_for(lambda: machine.run(state).stdout.strip() == "paused", "the save to begin")


@pytest.mark.fault(GONE)
@pytest.mark.fault(DIES)
def test_libvirtd_is_gone_before_the_stop_and_dies_during_the_next(bare: Machine) -> None:
    drop_in = bare.root / "etc/systemd/system/libvirtd.service.d/no-restart.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nRestart=no\n")
    copy_checkout(bare.root)
    bare.boot()
    guests = [Guest("plain"), Guest("second", presses=2), Guest("agent", agent=True, deaf=True), Guest("paused")]
    guests += [Guest("saving"), Guest("again"), Guest("slow", shutdown=30), Guest("nas")]
    guests = [replace(guest, disk=True) for guest in guests]
    define(bare, *guests)
    ids = start(bare, *(guest.name for guest in guests))
    _install(bare)
    bare.run("virsh -q suspend paused; virsh -q set-lifecycle-action again poweroff restart --live")
    _begin_a_save(bare, "saving")
    bare.run(f"systemctl stop {SOCKETS}; kill -KILL {_daemon(bare)}")
    bare.poweroff()
    _ended(bare, ids, GONE)
    assert set(_by(bare).values()) == {"qmp"}
    assert (serial(bare, "second").presses, serial(bare, "agent").agent_asked) == (2, 1)
    assert "QEMU itself is asked" in bare.journal("-u", UNIT)

    drop_in.unlink()
    marks = {name: mark(bare, name) for name in ids if name != "paused"}
    bare.boot()
    back = {name: wait_alive(bare, name, since) for name, since in marks.items()}
    daemon = _daemon(bare)
    bare.begin_poweroff()
    bare.wait_for(lambda: serial(bare, "slow", marks["slow"]).presses, "stopvm to ask the guests")
    bare.run(["kill", "-KILL", daemon])
    bare.wait_off()
    _ended(bare, back, DIES)
    by = _by(bare)
    assert (by["slow"], by["nas"], by["second"]) == ("qmp", "qmp", "qmp")
    assert serial(bare, "nas", marks["nas"]).presses == 1, "asked once those that need it were down"


@pytest.mark.fault(SILENT)
@pytest.mark.fault(FALLS_SILENT)
def test_a_libvirtd_that_hangs_is_killed_and_its_guests_end_cleanly(host: Machine) -> None:
    guests = (Guest("plain", disk=True), *(Guest(name, presses=2, disk=True) for name in ("second", "third")))
    define(host, *guests)
    ids = start(host, *(guest.name for guest in guests))
    _install(host)
    host.run(["kill", "-STOP", _daemon(host)])
    host.poweroff()
    _ended(host, ids, SILENT)
    assert set(_by(host).values()) == {"qmp"}
    assert "is killed" in host.journal("-u", UNIT, "-p", "err")

    marks = {name: mark(host, name) for name in ids}
    host.boot()
    back = {name: wait_alive(host, name, since) for name, since in marks.items()}
    daemon = _daemon(host)
    host.begin_poweroff()
    host.wait_for(lambda: serial(host, "second", marks["second"]).presses, "stopvm to ask the guests")
    host.run(["kill", "-STOP", daemon])
    host.wait_off()
    _ended(host, back, FALLS_SILENT)
    by = _by(host)
    assert (by["second"], by["third"]) == ("qmp", "qmp")


def test_a_libvirtd_that_hangs_holds_up_no_host_without_guests(host: Machine) -> None:
    _install(host)
    host.run(["kill", "-STOP", _daemon(host)])
    host.poweroff()
    assert "does not answer" in host.journal("-u", UNIT, "-p", "err")
    assert last_stop(host)["guests"] == []


@pytest.mark.fault("rescue mode, and a power-off from there")
def test_rescue_mode_and_a_soft_reboot(host: Machine, release: str) -> None:
    define(host, Guest("plain", disk=True), Guest("second", presses=2, disk=True))
    ids = start(host, "plain", "second")
    _install(host)
    if release != "bookworm":  # systemd 254 is the first to have it
        host.run("systemctl soft-reboot --no-block")
        host.wait_for(lambda: len(serial(host, "second").ended) == 1, "the guests to end")
        host.wait_for(lambda: host.state() in ("running", "degraded"), "the host to be up again")
        _ended(host, ids)
        _by(host)
        host.run("virsh -q start plain; virsh -q start second", check=False)
        ids = {name: wait_alive(host, name) for name in ids}
    host.run("systemctl isolate rescue.target --no-block")
    host.wait_for(lambda: host.run("systemctl is-active libvirtd", check=False).returncode, "libvirtd to be gone")
    for name in ids:
        assert wait_alive(host, name) == ids[name], "guests run on"
    host.poweroff()
    _ended(host, ids)
    assert set(_by(host).values()) == {"qmp"}


@pytest.mark.fault("without machined: guests have no scopes")
def test_without_machined_libvirtd_stays_for_the_stop_all_the_same(bare: Machine) -> None:
    (bare.root / "etc/systemd/system/systemd-machined.service").symlink_to("/dev/null")
    (bare.root / "usr/share/dbus-1/system-services/org.freedesktop.machine1.service").unlink()
    copy_checkout(bare.root)
    bare.boot()
    guests = [Guest("plain"), Guest("second", presses=2), Guest("agent", agent=True, deaf=True), Guest("paused")]
    define(bare, *(replace(guest, disk=True) for guest in guests))
    ids = start(bare, "plain", "second", "agent", "paused")
    assert "scope" not in bare.run("systemctl list-units 'machine-qemu*' --all --no-legend --plain").stdout
    _install(bare)
    bare.run("virsh -q suspend paused")
    bare.poweroff()
    by = _by(bare)
    assert by == {"plain": "acpi", "second": "acpi", "agent": "agent", "paused": "save"}
    _ended(bare, {name: boot_id for name, boot_id in ids.items() if name != "paused"})
    check_disks(bare, forced=["paused"])
