"""One power-off of guests of every temper and state: in which order, by which way and after which commands they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from guests import Guest, Serial, check_disks, define, mark, serial, start, wait_alive
from install import copy_checkout, lvg_install
from machine import Machine

PROFILE = """
extends = "graceful"

[stopvm]
resend = 8
before_stop_host = [["/srv/note", "$(id)"]]

[[guest]]
match = "web*"
needs = ["d?"]

[[guest]]
match = "db"
needs = ["nas"]

[[guest]]
match = "*hook"
before_stop = [["/bin/touch", "/marks/$(id)"], ["sh", "-c", "echo said inside; exit 3"]]

[[guest]]
match = "slowhook"
before_stop = [["/bin/touch", "/marks/first"], ["sleep", "600"]]
before_stop_host = [["sleep", "600"]]
hook_timeout = 8

[[guest]]
match = "doomed*"
timeout = 15
on_timeout = ["destroy"]
"""
# What the host's command finds: the guest, its own arguments, how often the guest's button was pressed by then, and
# who was down.
NOTE = """\
#!/bin/sh
grep -l 'guest: ends by itself' /var/log/guests/*.log >"/srv/down/$LVG_GUEST_NAME"
presses=$(grep -c 'guest: press' "/var/log/guests/$LVG_GUEST_NAME.log")
echo "$LVG_GUEST_UUID $* $presses" >>"/srv/notes/$LVG_GUEST_NAME"
"""
WAVES = (
    Guest("other"),
    Guest("web1", shutdown=6, agent=True),
    Guest("web2", shutdown=7),
    Guest("db", shutdown=2),
    Guest("nas", shutdown=2),
)
WAYS = (
    Guest("second", presses=2),
    Guest("frozen", agent="frozen", disk=True),
    Guest("hangs", agent="hangs", disk=True),
    Guest("refuses", agent="refuses", disk=True),
    Guest("hook", agent=True),
    Guest("slowhook", agent=True, disk=True),
)
STATES = (
    Guest("paused"),
    Guest("passing"),
    Guest("doomed-deaf", deaf=True, disk=True),
    Guest("doomed-crashed", panic=1),
)
AGENTS = "guest agents are frozen, hang or refuse"
HOOKS = "commands before the stop hang, in the guest and on the host"
DOOMED = "a deaf guest whose policy says destroy"
CLEAN = [guest.name for guest in (*WAVES, *WAYS)] + ["passing"]
LIBVIRTS_OWN = 60  # seconds that libvirt itself waits for an agent


@dataclass
class Cycle:
    """What was seen in one power cycle; the machine is on again."""

    machine: Machine
    ids: dict[str, str]
    uuids: dict[str, str]
    record: dict[str, Any] = field(default_factory=dict)
    journal: str = ""
    serials: dict[str, Serial] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)  # when a guest last wrote to its serial port

    def guest(self, name: str) -> dict[str, Any]:
        (found,) = [guest for guest in self.record["guests"] if guest["name"] == name]
        return found

    def asked_after(self, later: Guest, earlier: Guest) -> bool:
        """True if `later` had all of its own shutdown time when `earlier` was down: it was not asked before."""
        return self.ends[later.name] - self.ends[earlier.name] > later.shutdown - 0.5

    def down_before(self, name: str) -> set[str]:
        """Who was down when a guest was about to be asked, as the host's command saw it."""
        return {Path(line).stem for line in (self.machine.root / "srv/down" / name).read_text().splitlines()}


@pytest.fixture(scope="module")
def cycle(layers: list[Path]) -> Iterator[Cycle]:
    with Machine(layers) as machine:
        copy_checkout(machine.root)
        machine.boot()
        seen = _running(machine)
        _install(machine)
        machine.poweroff()
        _look(seen)
        check_disks(machine, "frozen", "hangs", "refuses", scenario=AGENTS)
        check_disks(machine, "slowhook", scenario=HOOKS)
        check_disks(machine, forced=["doomed-deaf"], scenario=DOOMED)
        machine.boot()
        yield seen


def _running(machine: Machine) -> Cycle:
    everyone = [*WAVES, *WAYS, *STATES]
    define(machine, *everyone)
    names = [guest.name for guest in everyone if guest.name != "passing"]
    ids = start(machine, *names[:7]) | start(machine, *names[7:])
    machine.run("virsh -q undefine passing && virsh -q create /srv/passing.xml")
    ids["passing"] = wait_alive(machine, "passing", 0)
    machine.run("virsh -q suspend paused")
    machine.wait_for(lambda: _state(machine, "doomed-crashed") == "crashed", "a crashed guest")
    return Cycle(machine, ids, {name: machine.run(["virsh", "domuuid", name]).stdout.strip() for name in ids})


def _install(machine: Machine) -> None:
    for folder in ("srv/notes", "srv/down"):
        (machine.root / folder).mkdir()
    (machine.root / "srv/note").write_text(NOTE)
    (machine.root / "srv/note").chmod(0o755)
    _profile(machine, PROFILE)
    lvg_install(machine, "--profile", "office")


def _profile(machine: Machine, text: str) -> None:
    folder = machine.root / "etc/lvg/profiles"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "office.toml").write_text(text)


def _state(machine: Machine, name: str) -> str:
    return machine.run(["virsh", "domstate", name]).stdout.strip()


def _look(seen: Cycle) -> None:
    (record,) = (seen.machine.root / "var/lib/lvg/history").glob("*.json")
    seen.record = json.loads(record.read_text())
    seen.journal = seen.machine.journal("-u", "graceful-shutdown")
    seen.serials = {name: serial(seen.machine, name) for name in seen.ids}
    logs = seen.machine.root / "var/log/guests"
    seen.ends = {name: (logs / f"{name}.log").stat().st_mtime for name in seen.ids}


@pytest.mark.parametrize("name", CLEAN)
def test_it_ends_by_itself(cycle: Cycle, name: str) -> None:
    assert cycle.serials[name].ended == [cycle.ids[name]]
    assert cycle.guest(name)["verdict"] == "clean"


def test_what_others_need_is_asked_when_they_are_down(cycle: Cycle) -> None:
    _, web1, web2, db, nas = WAVES
    assert cycle.asked_after(db, web1)
    assert cycle.asked_after(db, web2)
    assert cycle.asked_after(nas, db)
    assert {"web1", "web2"} <= cycle.down_before("db")
    assert "db" in cycle.down_before("nas")
    assert "web1" not in cycle.down_before("web2"), "these two wait for nobody"
    assert "web2" not in cycle.down_before("web1")


def test_a_guest_that_misses_a_press_gets_another(cycle: Cycle) -> None:
    assert cycle.serials["second"].presses >= 2, "it reacts to the second one only"
    assert cycle.guest("second")["method"] == "acpi"


def test_a_frozen_agent_costs_seconds(cycle: Cycle) -> None:
    assert cycle.serials["frozen"].agent_asked == 0
    assert cycle.guest("frozen")["method"] == "acpi"
    assert 4 < cycle.guest("frozen")["seconds"] < LIBVIRTS_OWN, "its agent was pinged, and not waited for"


@pytest.mark.fault(AGENTS)
def test_an_agent_that_takes_the_order_and_hangs_costs_seconds(cycle: Cycle) -> None:
    assert cycle.serials["hangs"].agent_asked == 1
    assert cycle.guest("hangs")["method"] == "acpi"
    assert cycle.guest("hangs")["seconds"] < 2 * LIBVIRTS_OWN
    assert "hangs: agent: " in cycle.journal


def test_an_agent_that_refuses_is_passed_over(cycle: Cycle) -> None:
    assert cycle.serials["refuses"].agent_asked == 0
    assert cycle.guest("refuses")["method"] == "acpi"
    assert "refuses: agent: " in cycle.journal, "libvirt's reason is told"


def test_a_good_agent_is_the_way(cycle: Cycle) -> None:
    assert cycle.serials["web1"].agent_asked == 1
    assert cycle.serials["web1"].presses == 0
    assert cycle.guest("web1")["method"] == "agent"


def test_commands_in_the_guest_come_before_the_request(cycle: Cycle) -> None:
    assert cycle.serials["hook"].marks == ["$(id)"], "and no shell has a part in it"
    assert "hook: sh: said inside" in cycle.journal
    assert "hook: before_stop: sh: exit code 3 (continue)" in cycle.journal
    assert cycle.serials["slowhook"].marks == ["first"]


@pytest.mark.fault(HOOKS)
def test_commands_that_hang_are_bounded(cycle: Cycle) -> None:
    assert "slowhook: before_stop: sleep: not done after 8 s" in cycle.journal
    assert "slowhook: before_stop_host: sleep: not done after 8 s, killed" in cycle.journal
    assert 16 < cycle.guest("slowhook")["seconds"] < 2 * LIBVIRTS_OWN


def test_a_command_of_the_host_runs_for_every_guest_before_it_is_asked(cycle: Cycle) -> None:
    notes = {path.name: path.read_text() for path in (cycle.machine.root / "srv/notes").iterdir()}
    expected = {name: f"{uuid} $(id) 0\n" for name, uuid in cycle.uuids.items() if name != "slowhook"}
    assert notes == expected


@pytest.mark.fault(DOOMED)
def test_who_cannot_or_will_not_end_is_destroyed_if_the_policy_says_so(cycle: Cycle) -> None:
    for name in ("doomed-deaf", "doomed-crashed"):
        assert cycle.guest(name)["verdict"] == "destroyed"
        assert not cycle.serials[name].ended
    assert cycle.serials["doomed-deaf"].presses >= 1
    assert cycle.guest("doomed-deaf")["seconds"] >= 15, "at its deadline"
    assert cycle.guest("doomed-crashed")["state"] == "crashed"
    assert "doomed-deaf: did not end in 15 s" in cycle.journal
    assert "doomed-crashed: did not end" not in cycle.journal, "nobody waits for that one"
    assert cycle.record["exit_code"] == 1


def test_a_paused_guest_is_saved_and_comes_back_paused(cycle: Cycle) -> None:
    assert (cycle.guest("paused")["verdict"], cycle.guest("paused")["state"]) == ("saved", "paused")
    assert cycle.serials["paused"].presses == 0
    machine = cycle.machine
    machine.wait_for(lambda: _state(machine, "paused") == "paused", "the paused guest")
    since = mark(machine, "paused")
    machine.run("virsh -q resume paused")
    assert wait_alive(machine, "paused", since) == cycle.ids["paused"], "it is the same running guest"


def test_a_transient_guest_is_known_as_one(cycle: Cycle) -> None:
    assert cycle.guest("passing")["persistent"] is False


def test_a_circle_is_refused_and_parallel_is_a_bound(host: Machine) -> None:
    circle = '[[guest]]\nmatch = "web*"\nneeds = ["db"]\n[[guest]]\nmatch = "db"\nneeds = ["web1"]\n'
    _profile(host, 'extends = "graceful"\n' + circle)
    refused = lvg_install(host, "--profile", "office", check=False)
    assert refused.returncode == 2
    assert "office.toml" in refused.stderr
    assert "circle" in refused.stderr
    assert not (host.root / "etc/lvg/policy.json").exists()

    three = [Guest(name, shutdown=2) for name in ("a", "b", "c")]
    define(host, *three)
    ids = start(host, "a", "b", "c")
    lvg_install(host, "--profile", "graceful", "--set", "parallel=1")
    host.poweroff()
    ends = sorted((host.root / f"var/log/guests/{name}.log").stat().st_mtime for name in ids)
    assert all(serial(host, name).ended == [boot_id] for name, boot_id in ids.items())
    assert all(later - earlier > 1.5 for earlier, later in pairwise(ends)), "one after another"
