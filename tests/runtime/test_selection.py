"""`stopvm stop --now` for some guests only, with a time of its own; and what --dry-run foretells."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from lvg.stopvm import foretell, policy
from lvg.stopvm.decide import Facts
from lvg.stopvm.selection import Selection, still_needed

PROGRAM = Path(__file__).parents[2] / "bin" / "stopvm"
DOMAIN = """<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{}</name>
<uuid>{}</uuid><memory>1024</memory><os><type>hvm</type></os><test:runstate>{}</test:runstate></domain>"""
NAMES = ("web1", "web2", "db", "nas")


@pytest.fixture
def stop(tmp_path):
    """Return a function that runs `stopvm stop` with four guests of the test driver, and one that is off."""
    pytest.importorskip("libvirt")
    state = tmp_path / "state"

    def stop(*args, on=NAMES, off=("spare",), uris=None, **rules):
        states = {**dict.fromkeys(on, 1), **dict.fromkeys(off, 5)}
        xml = [DOMAIN.format(name, uuid.uuid5(uuid.NAMESPACE_DNS, name), code) for name, code in states.items()]
        (tmp_path / "host.xml").write_text(f"<node>{''.join(xml)}</node>")
        uris = uris or [f"test://{tmp_path}/host.xml"]
        (tmp_path / "policy.json").write_text(json.dumps({"schema": 1, "uris": uris, **rules}))
        command = [PROGRAM, "stop", *args, "--policy", tmp_path / "policy.json", "--state", state]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def record():
        found = json.loads(sorted(state.glob("history/*.json"))[-1].read_text())
        guests = {guest["name"]: guest["verdict"] for guest in found["guests"]}
        return guests, [guest["name"] for guest in found["carried"]], found

    stop.record, stop.state = record, state
    return stop


@pytest.mark.parametrize(
    ("args", "stopped"),
    [
        (["--only", "web*"], {"web1", "web2"}),
        (["--only", "web1", "--only", "db"], {"web1", "db"}),
        (["--except", "nas", "--except", "d?"], {"web1", "web2"}),
        (["--only", "web*", "--except", "*2"], {"web1"}),
        (["--only", "WEB1", "--only", "nas"], {"nas"}),
    ],
)
def test_stops_only_what_is_asked_for(stop, args, stopped):
    done = stop("--now", *args)
    guests, carried, _ = stop.record()
    assert guests == dict.fromkeys(stopped, "clean")
    assert carried == []
    assert done.returncode == (2 if "WEB1" in args else 0)
    down, on = len(stopped), len(NAMES) - len(stopped)
    last = f"{down} guest{'s are' if down > 1 else ' is'} down; {on} run{'' if on > 1 else 's'} on, as asked"
    assert done.stderr.splitlines()[-1].removeprefix("stopvm: ") == last


def test_what_is_left_out_and_needs_what_is_stopped_is_said(stop):
    guests = [{"match": "web*", "needs": ["db"]}]
    done = stop("--now", "--only", "db", "--only", "web1", guests=guests)
    assert done.returncode == 0
    assert "web2 is left out and runs on, but needs db" in done.stderr
    assert "web1 is left out" not in done.stderr


def test_a_typing_error_is_no_silence_but_stops_the_rest(stop):
    done = stop("--now", "--only", "web1", "--only", "wep2", "--except", "nass")
    assert done.returncode == 2
    assert "--only wep2 matches no guest" in done.stderr
    assert "--except nass matches no guest" in done.stderr
    assert stop.record()[0] == {"web1": "clean"}


def test_a_second_run_finds_them_off_and_is_content(stop):
    assert stop("--now", "--only", "web*").returncode == 0
    done = stop("--now", "--only", "web*", on=("db", "nas"), off=("web1", "web2"))
    assert done.returncode == 0
    assert "--only web* matches only guests that are off" in done.stderr
    guests, carried, _ = stop.record()
    assert (guests, sorted(carried)) == ({}, ["web1", "web2"])


def test_what_an_earlier_stop_took_down_is_carried_until_it_runs_again(stop):
    stop("--now", "--only", "web*")
    stop("--now", "--only", "db", on=("web2", "db", "nas"), off=("web1",))
    guests, carried, _ = stop.record()
    assert guests == {"db": "clean"}
    assert carried == ["web1"], "web2 runs again: its story is another stop's"


@pytest.mark.parametrize("args", [["--only", "web1"], ["--except", "nas"], ["--budget", "60"]])
def test_a_shutdown_of_the_host_stops_all(stop, args):
    done = stop(*args)
    assert done.returncode == 2
    assert "need --now or --dry-run" in done.stderr
    assert not stop.state.exists()


@pytest.mark.parametrize("value", ["0", "-5", "ten", "nan", "inf", ""])
def test_a_budget_is_a_number_of_seconds(stop, value):
    done = stop("--now", "--budget", value)
    assert done.returncode == 2
    assert "is no number of seconds above 0" in done.stderr
    assert not stop.state.exists()


def test_the_budget_on_the_command_line_replaces_that_of_the_policy(stop):
    commands = [{"match": "db", "before_stop_host": [["sleep", "600"]], "hook_timeout": 500}]
    done = stop("--now", "--budget", "0.5", "--only", "db", budget=1000, guests=commands, on_timeout=["destroy"])
    assert done.returncode in (0, 1), done.stderr
    assert stop.record()[2]["guests"][0]["seconds"] < 60


def test_dry_run_tells_order_methods_deadlines_and_what_is_left(stop):
    rules = [{"match": "web*", "needs": ["db"]}, {"match": "db", "timeout": 600, "on_timeout": ["destroy"]}]
    done = stop("--dry-run", "--except", "nas", "--budget", "300", guests=rules)
    assert done.returncode == 0
    assert [line.removeprefix("stopvm: ") for line in done.stderr.splitlines()] == [
        "3 guests would be stopped in 2 waves, within 300 s:",
        "1. web1: ask by acpi within 135 s, again every 20 s; then: saved, else left to libvirt-guests",
        "1. web2: ask by acpi within 135 s, again every 20 s; then: saved, else left to libvirt-guests",
        "2. db: ask by acpi within 270 s, again every 20 s; then: destroyed, else left to libvirt-guests"
        ", once web1, web2 are down",
    ]
    assert not stop.state.exists()


def test_dry_run_tells_what_is_out_of_reach_and_what_is_misspelt(stop):
    done = stop("--dry-run", "--only", "web3")
    assert done.returncode == 2
    assert "--only web3 matches no guest" in done.stderr
    assert "no guest would be stopped" in done.stderr
    done = stop("--dry-run", uris=["test:///nonexistent.xml", "test:///default"])
    assert done.returncode == 3
    assert "libvirt at test:///nonexistent.xml is out of reach" in done.stderr
    assert "1 guest would be stopped" in done.stderr


@pytest.mark.parametrize(
    ("facts", "rules", "by_hand", "told"),
    [
        ({"agent": True}, {}, False, "ask by agent, then acpi within 240 s, again every 20 s; then: saved, else"),
        ({"agent": True}, {"methods": ["acpi"], "resend": 0}, False, "ask by acpi within 240 s; then: saved"),
        ({}, {"on_timeout": ["save"]}, True, "then: saved, else left running"),
        ({}, {"on_timeout": ["destroy", "leave", "save"]}, False, "then: destroyed, else left to libvirt-guests"),
        ({"persistent": False}, {}, False, "then: left to libvirt-guests"),
        ({"state": "paused"}, {}, False, "saved as it is, paused; if that fails: "),
        ({}, {"action": "save"}, False, "saved; if that fails: "),
        ({"hostdev": True}, {"action": "save"}, False, "cannot be saved (it has a host device): ask by acpi"),
        ({"state": "crashed"}, {"on_timeout": ["destroy"]}, False, "has crashed: destroyed"),
        ({"state": "pmsuspended"}, {}, False, "sleeps: woken, then ask by acpi"),
        ({"state": "shutdown"}, {}, False, "goes down already: waited for"),
        ({}, {"action": "none"}, False, "left to libvirt-guests, as the policy says"),
        ({}, {"before_stop": [["sync"]], "before_stop_host": [["lock", "x"]]}, False, "first sync, lock x (on the"),
    ],
)
def test_dry_run_foretells_every_kind_of_guest(facts, rules, by_hand, told):
    lines = foretell.lines(policy.compile_policy(rules), [Facts("1", "g", **facts)], not by_hand)
    assert lines[0] == "1 guest would be stopped, within 1200 s:"
    assert lines[1].startswith("g: ")
    assert told in lines[1]


def test_selection():
    assert not Selection()
    assert Selection().takes("anything")
    assert Selection(only=("a*",)).unmatched(["b"]) == ("--only a*",)
    assert still_needed(["db", "nas"], ["web"], lambda _: ["d*", "x"]) == ["web is left out and runs on, but needs db"]
