"""What runs when the host is up again: after reboots, after stops by hand, after power cuts, and in which order."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from guests import Guest, check_disks, define, mark, running, saved, serial, start, wait_alive
from install import install_own, lvg, lvg_install
from machine import Machine

UNIT = "graceful-restore"
LIST = "var/lib/libvirt/libvirt-guests"


def _records(machine: Machine) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((machine.root / "var/lib/lvg/history").glob("*.json"))]


def _boot(machine: Machine, *names: str) -> dict[str, str]:
    """Switch on and wait until the named guests are back. Returns the boot id of each."""
    marks = {name: mark(machine, name) for name in names}
    machine.boot()
    return {name: wait_alive(machine, name, marks[name]) for name in names}


def _lost_power(machine: Machine) -> set[str]:
    said = machine.journal("-u", UNIT, "-p", "err", "-o", "cat")
    return set(re.findall(r"^(\S+) lost power", said, re.MULTILINE))


def _state(machine: Machine, name: str) -> str:
    return machine.run(["virsh", "-q", "domstate", name]).stdout.strip()


def _ended(machine: Machine, ids: dict[str, str]) -> set[str]:
    return {name for name, boot_id in ids.items() if boot_id in serial(machine, name).ended}


@pytest.mark.fault("guests that are deaf, paused or transient, two power-offs in turn")
def test_two_reboots_bring_back_exactly_the_guests_that_ran(host: Machine) -> None:
    define(host, Guest("plain", disk=True), Guest("deaf", deaf=True, disk=True), Guest("still", disk=True))
    define(host, Guest("off", deaf=True))
    (host.root / "srv/brief.xml").write_text(Guest("brief").xml())
    host.run("virsh -q create /srv/brief.xml")
    ids = start(host, "plain", "deaf", "still", "off")
    ids["brief"] = wait_alive(host, "brief")
    host.run("virsh -q suspend still; virsh -q managedsave off")
    install_own(host, '[[guest]]\nmatch = "deaf"\ntimeout = 8\n')

    for _ in range(2):
        host.poweroff()
        assert _ended(host, {"plain": ids["plain"], "brief": ids["brief"]}) == {"plain", "brief"}
        check_disks(host, "plain", forced=["deaf", "still"])
        back = _boot(host, "plain", "deaf")
        assert back["plain"] != ids["plain"], "it was shut down, so this is another boot of it"
        assert back["deaf"] == ids["deaf"], "it was saved, so it is the same running guest"
        ids["plain"] = back["plain"]
        host.wait_for(lambda: _state(host, "still") == "paused", "the paused guest to be back")
        assert running(host) == {"plain", "deaf"}
        host.wait_for(
            lambda: saved(host) == {"off"}, "nobody to be saved but the one that an admin saved, and that is off"
        )
        assert _lost_power(host) == set()

    told = [guest for record in _records(host) for guest in record["guests"] if guest["name"] == "brief"]
    assert [(guest["persistent"], guest["verdict"], guest["restored"]) for guest in told] == [
        (False, "clean", "failed: it was transient")
    ]
    since = mark(host, "still")
    host.run("virsh -q resume still")
    assert wait_alive(host, "still", since) == ids["still"], "its memory is that of two reboots ago"


def test_stopped_by_hand_then_power_cuts(own_boots: Machine) -> None:
    host = own_boots
    define(host, Guest("byhand"), Guest("quick"), Guest("slow", shutdown=20))
    ids = start(host, "byhand", "quick", "slow")
    lvg_install(host, "--profile", "graceful")
    host.run("stopvm stop --now")
    assert _ended(host, ids) == set(ids)
    assert running(host) == set()
    ids = start(host, "quick")
    host.poweroff()
    assert _ended(host, ids) == {"quick"}
    assert running(_on(host, "byhand", "quick", "slow")) == {"byhand", "quick", "slow"}
    assert _lost_power(host) == set()

    # The plug is pulled while guests run. One of them crashed before that, which is another thing.
    host.run("kill -KILL $(cat /run/libvirt/qemu/quick.pid)")
    host.wait_for(lambda: _state(host, "quick") == "shut off", "libvirt to see the crash")
    host.cut_power()
    assert running(_on(host, "byhand", "slow")) == {"byhand", "slow"}
    assert _lost_power(host) == {"byhand", "slow"}
    cut = _records(host)[-1]
    assert (cut["kind"], [guest["verdict"] for guest in cut["guests"]]) == ("cut", ["lost", "lost"])
    assert "lost power" in host.run("stopvm status").stdout
    assert "2 lost" in lvg(host, "status", check=False).stdout

    # And in the middle of a stop.
    ids = start(host, "quick")
    host.begin_poweroff()
    host.wait_for(lambda: _ended(host, ids), "the quick guest to end")
    host.wait_for(lambda: any(guest["verdict"] for guest in _records(host)[-1]["guests"]), "its verdict on disk")
    host.cut_power()
    assert running(_on(host, "byhand", "quick", "slow")) == {"byhand", "quick", "slow"}
    assert _lost_power(host) >= {"slow"}
    assert "quick" not in _lost_power(host)


def _on(machine: Machine, *names: str) -> Machine:
    _boot(machine, *names)
    return machine


def test_the_first_power_cut_after_the_install_and_none_after_it(own_boots: Machine) -> None:
    host = own_boots
    define(host, Guest("one"), Guest("two"), Guest("ancient"))
    ids = start(host, "one", "two")
    log = host.root / "var/log/libvirt/qemu/ancient.log"
    log.write_text("2020-02-02 02:02:02.020+0000: starting up libvirt version: 5.0.0\n")
    lvg_install(host, "--profile", "graceful")
    host.cut_power()
    assert running(_on(host, *ids)) == set(ids), "what lost power years ago stays off"
    assert _lost_power(host) == set(ids)

    # libvirtd that was killed, a guest that starts by itself, a stop by libvirt-guests alone: no power was lost. There
    # is no record of that stop, but libvirt's logs tell who ran.
    host.run("systemctl kill --kill-whom=main --signal=KILL libvirtd && virsh -q autostart two")
    host.run("virsh -q list; mv /usr/local/bin/stopvm /srv/stopvm")
    host.poweroff()
    (host.root / "srv/stopvm").rename(host.root / "usr/local/bin/stopvm")
    assert running(_on(host, *ids)) == set(ids)
    assert _lost_power(host) == set()
    last = _records(host)[-1]
    assert (last["kind"], last["ended"]) == ("shutdown", "")
    assert {guest["name"]: guest["verdict"] for guest in last["guests"]} == dict.fromkeys(ids, "clean")


PROFILE = """\
[[guest]]
match = "database"
wait_for = "agent"
[[guest]]
match = "mute"
wait_for = "agent"
[[guest]]
match = "website"
needs = ["data*", "mute"]
[[guest]]
match = "net"
action = "none"
"""
LATE = """\
[Service]
ExecStartPost=/bin/cp /srv/list /var/lib/libvirt/libvirt-guests
"""


def test_what_others_need_is_up_first_and_a_stale_list_disarms_no_net(host: Machine) -> None:
    # Names sort against the order of their needs.
    define(host, Guest("database", agent=True), Guest("website"), Guest("mute"), Guest("net"), Guest("apart"))
    ids = start(host, "database", "website", "mute", "net", "apart")
    install_own(host, PROFILE)
    uuid = host.run("virsh -q domuuid net").stdout.strip()
    (host.root / "srv/list").write_text(f"default {uuid}\n")
    drop_in = host.root / "etc/systemd/system/libvirt-guests.service.d/99-late.conf"
    drop_in.write_text(LATE)
    host.poweroff()
    assert _ended(host, ids) == set(ids)

    marks = {name: mark(host, name) for name in ids}
    host.boot()
    host.wait_for(lambda: "website" in running(host), "the guest that needs others to be started")
    assert serial(host, "database", marks["database"]).booted, "what it needs was up before it was started"
    ids = {name: wait_alive(host, name, marks[name]) for name in ids}
    began = {name: _began(host, name) for name in ids}
    assert max(began, key=lambda name: began[name]) == "website", "nobody else waited for the agent"
    host.wait_for(lambda: "was stale" in host.journal("-u", UNIT), "the list to be moved aside")
    said = host.journal("-u", UNIT)
    assert "mute: wait_for = agent, but it has no channel for a guest agent" in said
    assert "database: its agent" not in said

    assert not (host.root / LIST).exists()
    assert [path.read_text() for path in host.root.glob(f"{LIST}.lvg-*")] == [f"default {uuid}\n"]
    host.run(["sh", "-c", f"echo 'default {uuid}' >/{LIST}"])  # and again, after the restore
    host.poweroff()
    assert _ended(host, ids) == set(ids)
    assert len(list(host.root.glob(f"{LIST}.lvg-*"))) == 2
    assert "Starting shutdown on guest: net" in host.journal("-u", "libvirt-guests"), "stopvm leaves that one to it"


def _began(machine: Machine, name: str) -> str:
    """When libvirt last started a guest."""
    log = (machine.root / f"var/log/libvirt/qemu/{name}.log").read_text()
    return re.findall(r"^(\S+ \S+): starting up", log, re.MULTILINE)[-1]
