"""The main job: guests of every temper, `lvg-install --profile graceful`, a real power-off, and the next boot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from guests import Guest, Serial, check_disks, define, mark, running, saved, serial, start, wait_alive
from install import copy_checkout, last_stop, lvg, lvg_install
from machine import Machine

CLEAN = (Guest("quick", disk=True), Guest("middling", shutdown=3, disk=True), Guest("slow", shutdown=6, disk=True))
DEAF = Guest("deaf", deaf=True, disk=True)
ORDINARY = "none: an ordinary power-off, with a guest that is deaf"
NAMES = [guest.name for guest in (*CLEAN, DEAF)]
DEADLINE = 25


@dataclass
class Cycle:
    """What was seen in one power cycle. The machine is on again and stays on for the module."""

    machine: Machine
    ids: dict[str, str]
    record: dict[str, Any] = field(default_factory=dict)
    journal: str = ""
    stopvm: str = ""
    net: str = ""
    serials: dict[str, Serial] = field(default_factory=dict)
    images: str = ""
    back: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def cycle(layers: list[Path]) -> Iterator[Cycle]:
    with Machine(layers) as machine:
        copy_checkout(machine.root)
        machine.boot()
        define(machine, *CLEAN, DEAF)
        ids = start(machine, *NAMES)
        lvg_install(machine, "--profile", "graceful", "--set", f"timeout={DEADLINE}")
        seen = Cycle(machine, ids)
        machine.poweroff()
        _look(seen)
        check_disks(machine, *(guest.name for guest in CLEAN), forced=[DEAF.name], scenario=ORDINARY)
        machine.boot()
        _come_back(seen)
        yield seen


def _look(seen: Cycle) -> None:
    machine = seen.machine
    seen.journal = machine.journal()
    seen.record = last_stop(machine)
    seen.stopvm = machine.journal("-u", "graceful-shutdown")
    seen.net = machine.journal("-u", "libvirt-guests")
    seen.serials = {name: serial(machine, name) for name in NAMES}
    seen.images = "\n".join(path.name for path in (machine.root / "var/lib/libvirt/qemu/save").glob("*"))


def _come_back(seen: Cycle) -> None:
    marks = {name: len(seen.serials[name].text) for name in NAMES}
    seen.back = {name: wait_alive(seen.machine, name, marks[name]) for name in NAMES}


@pytest.mark.parametrize("name", [guest.name for guest in CLEAN])
def test_a_guest_sees_the_button_once_and_ends_by_itself(cycle: Cycle, name: str) -> None:
    assert cycle.serials[name].presses == 1
    assert cycle.serials[name].ended == [cycle.ids[name]]


@pytest.mark.fault(ORDINARY)
def test_the_deaf_guest_is_saved(cycle: Cycle) -> None:
    assert cycle.serials["deaf"].presses >= 1
    assert not cycle.serials["deaf"].ended
    assert cycle.images == "deaf.save"


def test_the_verdicts_are_in_the_journal(cycle: Cycle) -> None:
    for guest in CLEAN:
        assert any(guest.name in line and "clean" in line for line in cycle.stopvm.splitlines()), cycle.stopvm
    assert any("deaf" in line and "saved" in line for line in cycle.stopvm.splitlines()), cycle.stopvm


def test_libvirt_guests_has_nothing_left_to_do(cycle: Cycle) -> None:
    assert "no running guests" in cycle.net.lower(), cycle.net
    assert "Shutting down" not in cycle.net
    assert "Suspending" not in cycle.net


def test_only_the_deaf_guest_is_waited_for_until_its_deadline(cycle: Cycle) -> None:
    took = {guest["name"]: guest["seconds"] for guest in cycle.record["guests"]}
    assert {name for name, seconds in took.items() if seconds >= DEADLINE} == {DEAF.name}


def test_all_are_back_after_the_boot(cycle: Cycle) -> None:
    assert running(cycle.machine) == set(NAMES)
    cycle.machine.wait_for(lambda: saved(cycle.machine) == set(), "the image to be gone")
    for guest in CLEAN:
        assert cycle.back[guest.name] != cycle.ids[guest.name], "it was shut down, so this is another boot"
    assert cycle.back["deaf"] == cycle.ids["deaf"], "it was saved, so it is the same running guest"


def test_status_is_good_after_the_boot(cycle: Cycle) -> None:
    lvg(cycle.machine, "status")


@pytest.mark.parametrize("unit", ["libvirt-guests.service", "graceful-shutdown.service", "virt-guest-shutdown.target"])
@pytest.mark.parametrize("verb", ["stop", "restart", "try-restart"])
def test_protected_units_refuse_and_guests_run_on(cycle: Cycle, unit: str, verb: str) -> None:
    machine = cycle.machine
    refused = machine.run(["systemctl", verb, unit], check=False)
    assert refused.returncode != 0
    assert "refused" in refused.stderr, refused.stderr
    _assert_untouched(machine)


def test_a_package_script_does_not_stop_guests(cycle: Cycle) -> None:
    cycle.machine.run("deb-systemd-invoke restart libvirt-guests.service graceful-shutdown.service", check=False)
    cycle.machine.run("systemctl restart libvirtd.service")
    cycle.machine.run("virsh -q list")
    _assert_untouched(cycle.machine)


def test_unprotected_our_unit_still_leaves_guests_alone(cycle: Cycle) -> None:
    machine = cycle.machine
    lvg_install(machine, "--profile", "graceful", "--set", f"timeout={DEADLINE}", "--set", "protect=false")
    for verb in ("restart", "try-restart", "stop"):
        machine.run(["systemctl", verb, "graceful-shutdown.service"])
        _assert_untouched(machine)
    machine.run("systemctl start graceful-shutdown.service")


def _assert_untouched(machine: Machine) -> None:
    assert running(machine) == set(NAMES)
    marks = {name: mark(machine, name) for name in NAMES}
    for name in NAMES:
        wait_alive(machine, name, marks[name])
        assert serial(machine, name, marks[name]).presses == 0
