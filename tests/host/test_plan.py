"""`lvg plan` before a real power-off, held against what then happens; and the boot after it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import roots
from guests import Guest, define, start, wait_alive
from install import copy_checkout, last_stop, lvg, lvg_install
from machine import Machine

PROFILE = """
extends = "graceful"

[stopvm]
timeout = 60
start_delay = 1

[[guest]]
match = "web*"
needs = ["db"]

[[guest]]
match = "deaf"
timeout = 8
"""
GUESTS = (
    Guest("web1", shutdown=2, agent=True),
    Guest("web2", shutdown=4),
    Guest("db", shutdown=2),
    Guest("deaf", deaf=True),
)
CLEAN = ["web1", "web2", "db"]
EVERYBODY = [guest.name for guest in GUESTS]


@dataclass
class Cycle:
    machine: Machine
    plan: dict[str, Any] = field(default_factory=dict)
    stop: str = ""
    record: dict[str, Any] = field(default_factory=dict)

    def steps(self) -> dict[str, dict[str, Any]]:
        return {step["guest"]: step for wave in self.plan["waves"] for step in wave}

    def verdicts(self) -> dict[str, float]:
        """When each guest had its verdict, in seconds from the beginning of the stop, in the order of time."""
        begins = float(re.findall(r"^(\d+\.\d+) .*Stopping graceful-shutdown", self.stop, re.MULTILINE)[-1])
        said = re.findall(r"^(\d+\.\d+) \S+ stopvm\[\d+\]: (\S+): \w+ after", self.stop, re.MULTILINE)
        return {name: float(time) - begins for time, name in said}


@pytest.fixture(scope="module")
def cycle() -> Iterator[Cycle]:
    """One release will do: what differs between them, the plan does not see."""
    with Machine([roots.guest_layer(), roots.host_root(roots.RELEASES[0])]) as machine:
        copy_checkout(machine.root)
        profiles = machine.root / "etc/lvg/profiles"
        profiles.mkdir(parents=True)
        (profiles / "office.toml").write_text(PROFILE, encoding="utf-8")
        machine.boot()
        assert lvg(machine, "plan", check=False).returncode == 6, "nothing is applied"
        define(machine, *GUESTS)
        lvg_install(machine, "--profile", "office")
        nothing = lvg(machine, "plan")
        assert "no guest runs" in nothing.stdout
        start(machine, *EVERYBODY)
        seen = Cycle(machine, json.loads(lvg(machine, "plan", "--json").stdout))
        machine.poweroff()
        seen.stop = machine.journal("-u", "graceful-shutdown", "-o", "short-unix")
        seen.record = last_stop(machine)
        machine.boot()
        for name in EVERYBODY:
            wait_alive(machine, name)
        yield seen


def test_the_plan_knows_the_host(cycle: Cycle) -> None:
    plan, steps = cycle.plan, cycle.steps()
    assert plan["fits"]
    assert plan["limit_s"] == 1800, "as poweroff.target says"
    assert [sorted(step["guest"] for step in wave) for wave in plan["waves"]] == [["deaf", "web1", "web2"], ["db"]]
    assert (steps["web1"]["methods"], steps["web2"]["methods"]) == (["agent", "acpi"], ["acpi"])
    assert all(step["usual_s"] is None for step in steps.values()), "nothing is known of them yet"


def test_the_order_is_the_one_that_was_planned(cycle: Cycle) -> None:
    seen = list(cycle.verdicts())
    assert sorted(seen) == sorted(EVERYBODY)
    for name, step in cycle.steps().items():
        assert all(seen.index(other) < seen.index(name) for other in step["after"])


def test_every_guest_ends_before_its_deadline(cycle: Cycle) -> None:
    verdicts = {guest["name"]: guest["verdict"] for guest in cycle.record["guests"]}
    assert verdicts == {**dict.fromkeys(CLEAN, "clean"), "deaf": "saved"}
    late = {name: seconds for name, seconds in cycle.verdicts().items() if seconds > cycle.steps()[name]["deadline_s"]}
    assert not late
    assert cycle.verdicts()["deaf"] >= cycle.steps()["deaf"]["timeout_s"]
    took = {guest["name"]: guest["seconds"] for guest in cycle.record["guests"]}
    assert all(took[name] <= step["granted_s"] for name, step in cycle.steps().items() if name in CLEAN)


def test_the_boot_is_the_one_that_was_planned(cycle: Cycle) -> None:
    journal = cycle.machine.journal("-u", "graceful-restore")
    came = re.findall(r"stopvm\[\d+\]: (\S+): (?:started|resumed)", journal)
    assert sorted(came) == sorted(EVERYBODY)
    planned = {each["guest"]: each for each in cycle.plan["boot"]["guests"]}
    assert all(each["by"] == "stopvm" for each in planned.values())
    for name, each in planned.items():
        assert all(came.index(other) < came.index(name) for other in each["after"])


def test_the_next_plan_expects_what_the_last_stop_took(cycle: Cycle) -> None:
    after = json.loads(lvg(cycle.machine, "plan", "--json").stdout)
    steps = {step["guest"]: step for wave in after["waves"] for step in wave}
    took = {guest["name"]: guest["seconds"] for guest in cycle.record["guests"]}
    assert {name: steps[name]["usual_s"] for name in CLEAN} == {name: took[name] for name in CLEAN}
    assert steps["deaf"]["usual_s"] is None, "it was saved, so its own end is still unknown"
    assert after["expected_s"] < cycle.plan["expected_s"]


def test_a_ups_that_does_not_last_is_told(cycle: Cycle) -> None:
    done = lvg(cycle.machine, "plan", "--ups", "30", "--svg", "/root/plan.svg", check=False)
    assert done.returncode == 9
    assert "the UPS lasts 30 s" in " ".join(done.stdout.split())
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert "<svg" in (cycle.machine.root / "root/plan.svg").read_text(encoding="utf-8")


def test_without_libvirt_there_is_no_plan_and_no_hang(cycle: Cycle) -> None:
    cycle.machine.run("systemctl kill --signal=STOP --kill-who=main libvirtd")
    try:
        done = lvg(cycle.machine, "plan", check=False)
    finally:
        cycle.machine.run("systemctl kill --signal=CONT --kill-who=main libvirtd")
    assert done.returncode == 1
    assert "no plan without libvirt" in done.stderr
