"""Guests whose end libvirt does not tell: a daemon that dies at the worst moment, and QEMU killed during the stop."""

from __future__ import annotations

import pytest

from guests import Guest, check_disks, define, log_by_virtlogd, mark, serial, start, wait_alive
from install import install_own, last_stop, lvg_install
from machine import Machine

# Kills libvirtd when the guest has shut down and libvirtd is about to end its QEMU, and ends that QEMU if libvirtd
# did not get so far. It waits a moment, so that others have heard of the shutdown, too.
KILLER = """\
import libvirt, os, signal, sys, time
daemon, qemu = map(int, sys.argv[1:])

def hear(connection, domain, event, detail, opaque):
    if event != libvirt.VIR_DOMAIN_EVENT_SHUTDOWN:
        return
    time.sleep(0.02)
    for pid, what in ((daemon, signal.SIGKILL), (qemu, signal.SIGTERM)):
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            pass
    os._exit(0)

libvirt.virEventRegisterDefaultImpl()
connection = libvirt.open("qemu:///system")
connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, hear, None)
open("/srv/killer.ready", "w").close()
while True:
    libvirt.virEventRunDefaultImpl()
"""


def _pid(machine: Machine, name: str) -> str:
    return machine.run(["cat", f"/run/libvirt/qemu/{name}.pid"]).stdout.strip()


@pytest.mark.fault("libvirtd is killed in the moment in which a guest has shut down")
def test_libvirtd_dies_when_the_guest_has_shut_down(host: Machine) -> None:
    define(host, Guest("one", disk=True, shutdown=15))
    ids = start(host, "one")
    lvg_install(host, "--profile", "graceful")
    (host.root / "srv/killer.py").write_text(KILLER)
    daemon = host.run("systemctl show -P MainPID libvirtd").stdout.strip()
    qemu = _pid(host, "one")
    host.begin_poweroff()
    host.wait_for(lambda: serial(host, "one").presses, "stopvm to ask the guest")  # it listens, and is told first
    host.run(f"setsid python3 /srv/killer.py {daemon} {qemu} >/srv/killer.log 2>&1 &")
    host.wait_for((host.root / "srv/killer.ready").exists, "the killer to listen")
    host.wait_off()
    assert serial(host, "one").ended == [ids["one"]]
    check_disks(host, "one")
    (guest,) = last_stop(host)["guests"]
    assert (guest["verdict"], last_stop(host)["exit_code"]) == ("clean", 0)
    assert "libvirtd.service: Main process exited, code=killed, status=9/KILL" in host.journal("-u", "libvirtd")


@pytest.mark.fault("a guest's QEMU is killed when the guest has been asked")
def test_a_guest_whose_qemu_was_killed_is_lost_and_comes_back(host: Machine) -> None:
    define(host, Guest("killed", shutdown=60, disk=True), Guest("other", shutdown=3, disk=True))
    ids = start(host, "killed", "other")
    lvg_install(host, "--profile", "graceful")
    pid = _pid(host, "killed")
    host.begin_poweroff()
    host.wait_for(lambda: serial(host, "killed").presses, "stopvm to ask the guest")
    host.run(["kill", "-KILL", pid])
    host.wait_off()
    assert serial(host, "other").ended == [ids["other"]]
    assert not serial(host, "killed").ended
    verdicts = {guest["name"]: guest["verdict"] for guest in last_stop(host)["guests"]}
    assert (verdicts, last_stop(host)["exit_code"]) == ({"killed": "lost", "other": "clean"}, 2)
    check_disks(host, "other", forced=["killed"])
    marks = {name: mark(host, name) for name in ids}
    host.boot()
    for name, since in marks.items():
        assert wait_alive(host, name, since) != ids[name]


@pytest.mark.fault("the QEMU of the only guest is killed when the guest has been asked")
def test_the_only_guest_whose_qemu_was_killed_is_lost(host: Machine) -> None:
    # systemd stops libvirtd in the moment it ends, so that libvirt's own word hardly ever comes.
    define(host, Guest("one", shutdown=60, disk=True))
    start(host, "one")
    lvg_install(host, "--profile", "graceful")
    pid = _pid(host, "one")
    host.begin_poweroff()
    host.wait_for(lambda: serial(host, "one").presses, "stopvm to ask the guest")
    host.run(["kill", "-KILL", pid])
    host.wait_off()
    assert [guest["verdict"] for guest in last_stop(host)["guests"]] == ["lost"]
    check_disks(host, forced=["one"])
    since = mark(host, "one")
    host.boot()
    wait_alive(host, "one", since)


def test_a_guest_that_systemd_had_to_kill_did_not_end_cleanly(own_boots: Machine) -> None:
    # libvirt notes "reason=shutdown" of both: QEMU's own word tells who ended it.
    host = own_boots
    log_by_virtlogd(host)
    define(host, Guest("deaf", deaf=True), Guest("other", shutdown=2))
    ids = start(host, "deaf", "other")
    install_own(host, "[libvirt-guests]\nSHUTDOWN_TIMEOUT = 20\n")
    host.begin_poweroff()
    host.wait_for(lambda: all(serial(host, name).presses for name in ids), "stopvm to ask the guests")
    host.run(["kill", "-KILL", host.run("systemctl show -P ControlPID graceful-shutdown").stdout.strip()])
    host.wait_off()
    assert serial(host, "other").ended == [ids["other"]]
    assert not serial(host, "deaf").ended
    marks = {name: mark(host, name) for name in ids}
    host.boot()
    for name, since in marks.items():
        assert wait_alive(host, name, since) != ids[name]
    verdicts = {guest["name"]: guest["verdict"] for guest in last_stop(host)["guests"]}
    assert verdicts == {"deaf": "lost", "other": "clean"}
