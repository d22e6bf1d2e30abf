"""A host without systemd: OpenRC stops the guests by stopvm when it goes down, and at no other time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

import openrchost
import roots
from guests import Guest, check_disks, define, mark, running, serial, start, wait_alive
from install import copy_checkout, lvg, lvg_install
from openrchost import OpenRcMachine

NAMES = ("quick", "slow")


@pytest.fixture
def openrc() -> Iterator[OpenRcMachine]:
    with OpenRcMachine([roots.guest_layer(), openrchost.tree()]) as machine:
        copy_checkout(machine.root)
        machine.with_openrc_net()
        machine.boot()
        define(machine, Guest("quick"), Guest("slow", shutdown=20), Guest("late", disk=True))
        yield machine


def refused(machine: OpenRcMachine, command: str) -> str:
    done = machine.run(command, check=False)
    assert done.returncode != 0, command
    return done.stdout + done.stderr


def test_guests_end_cleanly_at_poweroff_and_come_back(openrc: OpenRcMachine) -> None:
    lvg_install(openrc, "--profile", "graceful")
    assert re.search(r"^ok +graceful-shutdown +started$", lvg(openrc, "status").stdout, re.MULTILINE)
    ids = start(openrc, *NAMES)

    # Nothing that an admin or a package does by hand takes guests down.
    for command in ("rc-service graceful-shutdown stop", "rc-service graceful-shutdown restart"):
        assert "stopvm stop --now" in refused(openrc, command)
    assert "graceful-shutdown is still up" in refused(openrc, "rc-service libvirt-guests restart")
    openrc.run("rc-service libvirtd restart")
    assert "not going down" in openrc.run("stopvm stop").stderr
    openrc.run("rc-service graceful-shutdown status")
    assert {name: wait_alive(openrc, name) for name in NAMES} == ids

    openrc.begin_poweroff()
    openrc.wait_for(lambda: serial(openrc, "slow").presses, "stopvm to ask the guests")
    openrc.run("virsh -q start late")  # which systemd refuses by then; here nobody does
    openrc.wait_off()
    assert {name: serial(openrc, name).ended for name in NAMES} == {name: [ids[name]] for name in NAMES}
    assert (openrc.root / "var/log/net").read_text() == "met: late \n", "libvirt-guests had nothing else left to do"
    assert "late was started during the stop; it is left to libvirt-guests" in openrc.log()

    # The same under openrc-init, which goes to "shutdown" as Alpine and Gentoo do, where Debian has "off".
    since = {name: mark(openrc, name) for name in NAMES}
    openrc.as_openrc_init()
    check_disks(openrc, "late")
    openrc.boot()
    back = {name: wait_alive(openrc, name, since[name]) for name in NAMES}
    assert running(openrc) == set(NAMES)
    openrc.poweroff()
    for name in NAMES:
        assert serial(openrc, name, since[name]).ended == [back[name]]
    assert (openrc.root / "var/log/net").read_text() == "met: late \nmet: \n", "nothing was left to do"
    history = sorted((openrc.root / "var/lib/lvg/history").glob("*.json"))
    stops = [json.loads(path.read_text()) for path in history]
    assert [(stop["kind"], stop["exit_code"]) for stop in stops] == [("shutdown", 0)] * 2
    assert {guest["verdict"] for stop in stops for guest in stop["guests"]} == {"clean"}
    assert "stopvm: all guests are down" in openrc.log()

    # Without lvg it is libvirt-guests alone that meets the guests.
    since = {name: mark(openrc, name) for name in NAMES}
    openrc.boot()
    for name in NAMES:
        wait_alive(openrc, name, since[name])
    lvg(openrc, "remove")
    openrc.poweroff()
    assert set((openrc.root / "var/log/net").read_text().splitlines()[-1].split()) == {"met:", *NAMES}
    assert not list((openrc.root / "etc").glob("*/graceful-shutdown"))
