"""What may befall guests while they are stopped: no other guest suffers from it, and each end is on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from guests import Guest, check_disks, define, mark, serial, start, wait_alive
from install import assert_sandboxed, install_own, last_stop
from machine import Machine

PROFILE = """
[libvirt-guests]
SHUTDOWN_TIMEOUT = 120

[stopvm]
timeout = 180
resend = 8

[[guest]]
match = "unsaved*"
timeout = 6
resend = 0

[[guest]]
match = "plain"
before_stop = [["/bin/touch", "/marks/told"]]

[[guest]]
match = "kept"
on_timeout = ["destroy"]
"""
SAVES = "/var/lib/libvirt/qemu/save"
FULL = "the save folder is full"
FILLS_UP = "the save folder fills up during a save"
CRASHES = "a guest crashes while it is asked"
STARTED = "a guest is started during the stop"
CLOCK = "the clock jumps by hours, forward and back, during the stop"
# libvirt calls it when a guest runs, and holds the guest until it returns.
SLOW_START = """\
#!/bin/sh
[ "$1 $2" != "started started" ] || sleep 8
"""
# The installed stopvm, for which the clock is off by as many seconds as /srv/clock says. What the clock of the
# kernel is, all of this machine's containers share: nobody may set it here.
CLOCKED = """\
#!/usr/bin/python3
import runpy, sys, time

def off():
    return float(open("/srv/clock").read())

def at(made):
    return lambda seconds=None: made(time.time() if seconds is None else seconds)

real, strftime = time.time, time.strftime
time.time = lambda: real() + off()
time.time_ns = lambda: int(time.time() * 10**9)
time.gmtime, time.localtime, time.ctime = at(time.gmtime), at(time.localtime), at(time.ctime)
time.strftime = lambda text, when=None: strftime(text, when or time.localtime())
sys.argv[0] = "stopvm"
runpy.run_path("/usr/local/bin/stopvm", run_name="__main__")
"""
HOURS = 3600


@dataclass(frozen=True)
class Panicking(Guest):
    """A guest whose kernel panics at an NMI. What libvirt does then: "preserve", "destroy" or "restart" it.

    With "" nobody tells libvirt, and the kernel starts itself again.
    """

    on_crash: str = ""

    def xml(self) -> str:
        words = "unknown_nmi_panic" if self.on_crash else "unknown_nmi_panic panic=1"
        return super().xml().replace("quiet", f"quiet {words}").replace("preserve", self.on_crash)


def _panicking(name: str, on_crash: str, shutdown: int) -> Guest:
    only_at_an_nmi = 10**6 if on_crash else 0
    return Panicking(name, shutdown=shutdown, disk=True, panic=only_at_an_nmi, on_crash=on_crash)


def _install(machine: Machine) -> None:
    install_own(machine, PROFILE)
    assert_sandboxed(machine)


def _guests(machine: Machine) -> dict[str, dict[str, Any]]:
    return {guest["name"]: guest for guest in last_stop(machine)["guests"]}


@pytest.mark.fault(FULL)
@pytest.mark.fault(CRASHES)
@pytest.mark.fault(STARTED)
def test_much_goes_wrong_at_once(host: Machine) -> None:
    (host.root / "etc/libvirt/hooks").mkdir(exist_ok=True)
    (host.root / "etc/libvirt/hooks/qemu").write_text(SLOW_START)
    (host.root / "etc/libvirt/hooks/qemu").chmod(0o755)
    host.run("systemctl restart libvirtd")
    plain, unsaved = Guest("plain", agent=True, disk=True), Guest("unsaved", presses=2, disk=True)
    crashing = [_panicking("kept", "preserve", 120), _panicking("ended", "destroy", 120)]
    crashing += [_panicking("restarted", "restart", 15), _panicking("restarts", "", 15)]
    guests = [plain, unsaved, *crashing]
    define(host, *guests, Guest("started", disk=True), Guest("refused", disk=True))
    ids = start(host, *(guest.name for guest in guests))
    _install(host)
    host.run(f"mount -t tmpfs -o size=8m,mode=755 lvg-test {SAVES}")

    host.run("setsid virsh start started >/srv/started.log 2>&1 &")
    host.wait_for(lambda: "sleep 8" in host.run("ps -eo args").stdout, "the start of a guest")
    host.begin_poweroff()
    host.wait_for(lambda: all(serial(host, guest.name).presses for guest in crashing), "stopvm to ask the guests")
    host.run("; ".join(f"virsh inject-nmi {guest.name}" for guest in crashing))
    refused = host.run("virsh start refused", check=False)
    host.wait_off()

    found, ended = _guests(host), {name: serial(host, name).ended for name in ids}
    for name in ("plain", "unsaved"):
        assert ended[name] == [ids[name]]
    assert serial(host, "plain").marks == ["told"], "by its agent, which hears from the sandbox"
    _crashed(host, found, ids)
    assert (found["unsaved"]["verdict"], serial(host, "unsaved").presses) == ("left", 2), "the second one of the net"
    assert "8 MiB free, and it needs up to" in found["unsaved"]["detail"]
    assert found["started"]["verdict"] == "clean"
    assert serial(host, "started").ended
    assert refused.returncode, "systemd starts nothing any more"
    check_disks(host, "plain", "unsaved", scenario=FULL)
    check_disks(host, "restarted", "restarts", forced=["kept", "ended"], scenario=CRASHES)
    check_disks(host, "started", "refused", scenario=STARTED)


def _crashed(machine: Machine, found: dict[str, dict[str, Any]], ids: dict[str, str]) -> None:
    for name in ("restarted", "restarts"):
        (last,) = serial(machine, name).ended
        assert last != ids[name], "its kernel was another one by then"
        assert found[name]["verdict"] == "clean"
    for name, verdict in {"kept": "destroyed", "ended": "lost"}.items():
        assert not serial(machine, name).ended
        assert found[name]["verdict"] == verdict
        assert found[name]["seconds"] < 120, "nobody waits for its deadline"
    assert "its kernel panicked" in found["kept"]["detail"]


@pytest.mark.fault(FILLS_UP)
@pytest.mark.fault(CLOCK)
def test_a_save_fails_half_way_and_the_clock_jumps(host: Machine) -> None:
    with (host.root / "etc/libvirt/qemu.conf").open("a") as conf:
        conf.write('save_image_format = "gzip"\n')  # so that nobody can know beforehand how much room it takes
    _fake_clock(host)
    host.run("systemctl restart libvirtd")
    define(host, Guest("unsaved", presses=2, shutdown=20, disk=True), Guest("slow", shutdown=20, disk=True))
    define(host, Guest("second", presses=2, shutdown=2, disk=True))
    ids = start(host, "unsaved", "slow", "second")
    _install(host)
    host.run(f"mount -t tmpfs -o size=4m,mode=755 lvg-test {SAVES}")

    host.begin_poweroff()
    host.wait_for(lambda: serial(host, "slow").presses, "stopvm to ask the guests")
    _jump(host, 6 * HOURS)
    host.wait_for(lambda: serial(host, "second").presses == 2, "stopvm to press again")
    _jump(host, -50 * HOURS)
    host.wait_for(lambda: serial(host, "unsaved").presses == 2, "libvirt-guests to ask the guest")
    assert host.run(["ls", SAVES]).stdout == "", "no half of an image is left for the next start"
    host.wait_off()
    record, found = last_stop(host), _guests(host)
    assert record["ended"] < record["started"], "stopvm saw the clock jump"
    assert [found[name]["verdict"] for name in ids] == ["left", "clean", "clean"]
    assert "No space left on device" in found["unsaved"]["detail"]
    assert found["slow"]["seconds"] < HOURS
    for name, boot_id in ids.items():
        assert serial(host, name).ended == [boot_id]
    check_disks(host, "unsaved", scenario=FILLS_UP)
    check_disks(host, "slow", "second", scenario=CLOCK)

    _jump(host, -9000 * HOURS)
    marks = {name: mark(host, name) for name in ids}
    host.boot()
    for name, since in marks.items():
        assert wait_alive(host, name, since) != ids[name]
    assert "lost power" not in host.journal("-u", "graceful-restore")


def _fake_clock(machine: Machine) -> None:
    (machine.root / "srv/clocked").write_text(CLOCKED)
    (machine.root / "srv/clocked").chmod(0o755)
    _jump(machine, 0)
    for unit, when, verb in (("shutdown", "Stop", "stop"), ("restore", "Start", "restore")):
        drop_in = machine.root / f"etc/systemd/system/graceful-{unit}.service.d/clock.conf"
        drop_in.parent.mkdir()
        drop_in.write_text(f"[Service]\nExec{when}=\nExec{when}=/srv/clocked {verb}\n")


def _jump(machine: Machine, seconds: int) -> None:
    (machine.root / "srv/clock.new").write_text(f"{seconds:+}\n")
    (machine.root / "srv/clock.new").rename(machine.root / "srv/clock")
