"""What goes wrong on real hosts, and the guests end cleanly all the same."""

from __future__ import annotations

import re

import pytest

from guests import Guest, check_disks, define, mark, running, saved, serial, start, wait_alive
from install import differences, lvg, lvg_install, picture
from machine import Machine

UNIT = "graceful-shutdown.service"


def _ended_by_itself(machine: Machine, name: str, boot_id: str) -> bool:
    return boot_id in serial(machine, name).ended


@pytest.mark.fault("stopvm is killed when it has asked the guests")
def test_with_stopvm_killed_libvirt_guests_stops_the_rest(host: Machine) -> None:
    # Each reacts to its second press only: the first comes from stopvm, the second can only come from the net.
    define(host, Guest("one", presses=2, disk=True), Guest("two", presses=2, disk=True))
    ids = start(host, "one", "two")
    lvg_install(host, "--profile", "graceful")
    host.begin_poweroff()
    host.wait_for(lambda: all(serial(host, name).presses == 1 for name in ids), "stopvm to ask the guests")
    pid = host.run(["systemctl", "show", "-P", "ControlPID", UNIT]).stdout.strip()
    assert pid != "0"
    host.run(["kill", "-KILL", pid])
    host.wait_off()
    for name, boot_id in ids.items():
        assert serial(host, name).presses == 2
        assert _ended_by_itself(host, name, boot_id)
    check_disks(host, *ids)
    # not "complete": where systemd stops libvirtd with the last scope, the script may end without a word
    assert "Starting shutdown on guest: one" in host.journal("-u", "libvirt-guests")


@pytest.mark.fault("a power-off while guests are still brought back, and one after that failed")
def test_power_off_during_a_restore_and_after_a_failed_one(host: Machine) -> None:
    define(host, *(Guest(name, disk=True) for name in ("a", "b", "c")))
    ids = start(host, "a", "b", "c")
    lvg_install(host, "--profile", "graceful", "--set", "start_delay=600")
    host.poweroff()
    assert all(_ended_by_itself(host, name, ids[name]) for name in ids)
    check_disks(host, *ids)

    host.boot()
    host.wait_for(lambda: running(host), "the restore to start its first guest")
    (first,) = running(host)
    first_id = wait_alive(host, first)
    assert host.run(["systemctl", "is-active", "graceful-restore"]).stdout.strip() == "active"
    host.poweroff()
    assert _ended_by_itself(host, first, first_id), "stopped cleanly although the restore was still running"
    check_disks(host, first)

    others = sorted(set(ids) - {first})
    policy = host.root / "etc/lvg/policy.json"
    policy.write_text(re.sub(r'"start_delay": *600', '"start_delay": 0', policy.read_text()))
    broken = others[0]
    definition = host.root / f"etc/libvirt/qemu/{broken}.xml"
    definition.write_text(definition.read_text().replace("/srv/guest/vmlinuz", "/srv/guest/missing"))
    marks = {name: mark(host, name) for name in (first, others[1])}
    host.boot()
    back = {name: wait_alive(host, name, since) for name, since in marks.items()}
    assert running(host) == set(back), "carried into the next record; the broken one is passed over"
    assert broken in host.journal("-u", "graceful-restore")
    host.poweroff()
    assert all(_ended_by_itself(host, name, boot_id) for name, boot_id in back.items())
    check_disks(host, *back)


@pytest.mark.fault("libvirt-guests is masked")
def test_with_libvirt_guests_masked_by_hand_guests_are_still_stopped(host: Machine) -> None:
    define(host, Guest("one", shutdown=2, disk=True), Guest("two", deaf=True, agent=True, disk=True))
    ids = start(host, "one", "two")
    lvg_install(host, "--profile", "graceful")
    host.run("ln -s /dev/null /etc/systemd/system/libvirt-guests.service && systemctl daemon-reload")
    host.poweroff()
    assert all(_ended_by_itself(host, name, ids[name]) for name in ids)
    check_disks(host, *ids)

    marks = {name: mark(host, name) for name in ids}
    host.boot()
    back = {name: wait_alive(host, name, marks[name]) for name in ids}
    host.poweroff()
    assert all(_ended_by_itself(host, name, boot_id) for name, boot_id in back.items())
    assert serial(host, "two").agent_asked == 2, "by its guest agent, both times"
    assert serial(host, "two").presses == 0
    check_disks(host, *back)


def test_a_failed_start_is_rolled_back_and_guests_run_on(host: Machine) -> None:
    define(host, Guest("one"))
    start(host, "one")
    drop_in = host.root / f"etc/systemd/system/{UNIT}.d/99-admin.conf"
    drop_in.parent.mkdir()
    drop_in.write_text('[Service]\nExecStartPre=/bin/sh -c "exit 7"\n')  # 1 is a success of this unit
    before = picture(host, "etc", "usr/local")
    failed = lvg_install(host, "--profile", "graceful", check=False)
    assert failed.returncode == 1, failed.stderr
    assert UNIT in failed.stderr
    assert "Traceback" not in failed.stderr
    assert differences(before, picture(host, "etc", "usr/local")) == []
    assert running(host) == {"one"}
    assert host.run("systemctl is-active libvirt-guests", check=False).stdout.strip() == "active"
    assert lvg(host, "status", check=False).returncode == 6


def test_remove_gives_the_bytes_back_and_stops_nothing(host: Machine) -> None:
    define(host, Guest("one"))
    start(host, "one")
    before = picture(host, "etc", "usr/local")
    lvg_install(host, "--profile", "graceful")
    lvg_install(host, "--profile", "ups")
    lvg(host, "status")
    lvg(host, "rollback")
    assert '"profile": "graceful"' in (host.root / "etc/lvg/policy.json").read_text()
    lvg(host, "remove")
    assert differences(before, picture(host, "etc", "usr/local")) == []
    assert running(host) == {"one"}
    assert serial(host, "one").presses == 0
    for unit in (UNIT, "libvirt-guests.service"):
        assert host.run(["systemctl", "is-active", unit]).stdout.strip() == "active", "never the active state"


def test_an_old_list_starts_no_guest(host: Machine) -> None:
    define(host, Guest("one"), Guest("two"))
    uuids = [host.run(["virsh", "-q", "domuuid", name]).stdout.strip() for name in ("one", "two")]
    host.run("systemctl disable --now libvirt-guests.service")
    stale = host.root / "var/lib/libvirt/libvirt-guests"
    stale.write_text(f"default {' '.join(uuids)}\n")
    done = lvg_install(host, "--profile", "suspend")
    assert host.run("systemctl is-active libvirt-guests").stdout.strip() == "active"
    assert running(host) == set()
    assert saved(host) == set()
    assert not stale.exists()
    assert "/var/lib/libvirt/libvirt-guests" in done.stdout + done.stderr
    kept = [path for path in (host.root / "var/lib/lvg/checkpoints").rglob("*") if path.is_file()]
    assert any(uuids[0].encode() in path.read_bytes() for path in kept), "it is kept in the checkpoint"
