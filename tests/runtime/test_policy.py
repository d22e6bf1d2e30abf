"""The policy file: what is wrong with it is said, and guests are stopped all the same."""

import json
import os

import pytest

from lvg.stopvm import decide, order, policy, timing
from lvg.stopvm.decide import Facts
from lvg.stopvm.policy import GuestPolicy, Net, Policy

FULL = {
    "about": "...", "schema": 1, "profile": "graceful", "uris": ["default"], "action": "shutdown", "timeout": 240,
    "budget": 1200, "methods": ["agent", "acpi"], "resend": 20, "on_timeout": ["save", "leave"], "parallel": 0,
    "boot": "restore", "start_delay": 0, "wait_for": "", "protect": True, "needs": [], "before_stop": [],
    "before_stop_host": [["/bin/true", "x"]], "hook_timeout": 60, "on_hook_failure": "continue", "bypass_cache": False,
    "sync_time": False, "persistent_only": "default",
    "net": {"on_boot": "ignore", "on_shutdown": "shutdown", "shutdown_timeout": 240, "parallel": 100},
    "guests": [{"match": "db*", "timeout": 600}, {"match": "db1", "timeout": 30, "needs": ["nas"]}],
}  # fmt: skip


def write(path, data, mode=0o600):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    path.chmod(mode)
    return path


def test_a_whole_policy(tmp_path):
    found = policy.load(write(tmp_path / "policy.json", FULL))
    assert found.complaints == ()
    assert (found.profile, found.boot, found.budget, found.net.parallel) == ("graceful", "restore", 1200, 100)
    assert found.base.before_stop_host == (("/bin/true", "x"),)


def test_later_rules_win():
    found = policy.compile_policy(FULL)
    assert [found.for_guest(name).timeout for name in ("web", "db2", "db1")] == [240, 600, 30]
    assert found.for_guest("db1").needs == ("nas",)


@pytest.mark.parametrize(
    ("data", "mode", "said"),
    [
        ("{", 0o600, "cannot be used"),
        ("[]", 0o600, "not a JSON object"),
        ("[" * 100000, 0o600, "cannot be used"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), 0o600, "cannot be used"),
        ({**FULL, "schema": 2}, 0o600, "schema 2"),
        (FULL, 0o620, "others may write it"),
        (FULL, 0o602, "others may write it"),
    ],
)
def test_what_cannot_be_trusted_is_replaced_by_the_safe_policy(tmp_path, data, mode, said):
    found = policy.load(write(tmp_path / "policy.json", data, mode))
    assert found == Policy()
    assert (found.boot, found.base.on_timeout) == ("ignore", ("save", "leave"))
    assert said in found.complaints[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_of_another_user_is_not_used(tmp_path):
    path = write(tmp_path / "policy.json", FULL)
    os.chown(path, 65534, 65534)
    assert "belongs to user 65534" in policy.load(path).complaints[0]


def test_missing_and_not_a_file(tmp_path):
    assert "No such file" in policy.load(tmp_path / "none").complaints[0]
    assert policy.load(tmp_path).complaints
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "regular file" in policy.load(tmp_path / "fifo").complaints[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timeout", "240"), ("timeout", -1), ("timeout", True), ("methods", "agent"), ("methods", ["telepathy"]),
        ("on_timeout", ["kill"]), ("action", "suspend"), ("boot", "yes"), ("parallel", None), ("uris", [1]),
        ("before_stop_host", ["true"]), ("before_stop_host", [[]]), ("guests", {}), ("guests", [{"timeout": 1}]),
        ("bypass_cache", 1), ("net", {"parallel": "x"}),
    ],
)  # fmt: skip
def test_one_bad_value_spoils_only_itself(key, value):
    found = policy.compile_policy({**FULL, key: value})
    assert len(found.complaints) == 1
    assert key.split(".")[0] in found.complaints[0]
    assert found.profile == "graceful"


@pytest.mark.parametrize(
    ("facts", "rules", "step"),
    [
        ({}, {}, "ask"),
        ({"state": "shutdown"}, {}, "wait"),
        ({"state": "paused"}, {}, "save"),
        ({"state": "pmsuspended"}, {}, "wake"),
        ({"state": "crashed"}, {}, "timeout"),
        ({"on_poweroff": "restart"}, {}, "ask"),
        ({"on_poweroff": "preserve"}, {}, "ask"),
        ({"persistent": False}, {}, "ask"),
        ({"persistent": False}, {"persistent_only": "true"}, "leave"),
        ({"persistent": False}, {"persistent_only": "false"}, "ask"),
        ({"state": "paused"}, {"action": "none"}, "leave"),
        ({}, {"action": "save"}, "save"),
        ({"state": "shutdown"}, {"action": "save"}, "wait"),
    ],
)
def test_opening(facts, rules, step):
    assert decide.opening(Facts("u", "n", **facts), GuestPolicy(**rules)) == step


@pytest.mark.parametrize(
    ("rules", "presses", "pause"),
    [
        ({"resend": 20}, 1, 20), ({"resend": 20}, 5, 20), ({"resend": 0}, 1, None), ({"resend": 7}, 0, 7),
        ({"resend": 0}, 0, 20), ({"methods": ("agent",)}, 0, None),
    ],
)  # fmt: skip
def test_next_press(rules, presses, pause):
    assert decide.next_press(GuestPolicy(**rules), presses) == pause


@pytest.mark.parametrize(
    ("budget", "net", "guests", "goes_down", "seconds"),
    [
        (1200, Net("shutdown", 240, 100), 8, True, 1200),
        (1700, Net("shutdown", 240, 100), 8, True, 1500),
        (1200, Net("shutdown", 240, 0), 8, True, 120),
        (1200, Net("shutdown", 240, 1), 2, True, 1200),
        (1200, Net("shutdown", 240, 0), 8, False, 1200),
        (60, Net("shutdown", 3000, 0), 8, True, 60),
        (1200, Net("suspend", 300, 0), 8, True, 1200),
        (1700, Net("suspend", 0, 0), 8, True, 1440),
    ],
)
def test_work_ends_early_enough_for_the_net(budget, net, guests, goes_down, seconds):
    assert timing.work_seconds(Policy(budget=budget, net=net), guests, goes_down) == seconds


def test_libvirt_guests_has_its_timeout_for_each_uri_since_it_takes_them_in_turn():
    rules = Policy(budget=1700, uris=("default", "lxc:///system", "xen:///"), net=Net("shutdown", 240, 100))
    assert timing.work_seconds(rules, 8, host_goes_down=True) == 1740 - 3 * 240


@pytest.mark.parametrize(
    ("timeout", "on_timeout", "left", "seconds"),
    [
        (240, ("save", "leave"), 1200, 240), (240, ("save", "leave"), 200, 180), (240, ("leave",), 200, 200),
        (240, ("save",), 1200 / 5, 216), (240, (), 0, 0), (240, ("save",), -5, 0),
    ],
)  # fmt: skip
def test_a_guest_never_takes_what_is_kept_for_the_last_step(timeout, on_timeout, left, seconds):
    assert timing.guest_seconds(GuestPolicy(timeout=timeout, on_timeout=on_timeout), left) == seconds


@pytest.mark.parametrize(
    ("left", "save", "seconds"),
    [(1200, 45, 240), (270, 45, 225), (100, 80, 50), (100, 2, 90), (10, 100, 5)],
)
def test_a_guest_leaves_time_for_its_save(left, save, seconds):
    assert timing.guest_seconds(GuestPolicy(timeout=240, on_timeout=("save", "leave")), left, save) == seconds


@pytest.mark.parametrize(
    ("name", "guests", "starts"),
    [
        ("nobody can be saved", [], {}),
        ("one", [("a", 0, 30)], {"a": 70}),
        ("longest first, and each has the disk for itself", [("a", 0, 10), ("b", 0, 30)], {"b": 60, "a": 90}),
        ("those that others need come last", [("nas", 1, 30), ("web", 0, 10)], {"web": 60, "nas": 70}),
        ("half of the time is the guests' own", [("a", 0, 40), ("b", 0, 30)], {"a": 50, "b": 70}),
        ("one that fits in no case is not cut short", [("a", 0, 51), ("b", 0, 30)], {"b": 70}),
        ("one that just fits is", [("a", 0, 50)], {"a": 50}),
        ("many", [(f"g{n}", 0, 20) for n in range(4)], {"g3": 50, "g2": 50, "g1": 60, "g0": 80}),
    ],
)
def test_when_saves_have_to_begin(name, guests, starts):
    saves = [timing.Saving(("default", who), wave, seconds) for who, wave, seconds in guests]
    found = timing.save_starts(saves, begin=0, end=100)
    assert {key[1]: start for key, start in found.items()} == starts, name


@pytest.mark.parametrize(
    ("facts", "rules", "may"),
    [
        ({}, {}, True),
        ({"persistent": False}, {}, False),
        ({"hostdev": True}, {}, False),
        ({}, {"action": "none"}, False),
        ({}, {"on_timeout": ("leave", "save")}, False),
        ({}, {"on_timeout": ("destroy",)}, False),
        ({}, {"on_timeout": ("destroy", "save")}, True),
    ],
)
def test_who_may_be_saved_when_time_runs_short(facts, rules, may):
    assert decide.may_be_saved(Facts("u", "n", **facts), GuestPolicy(**rules)) == may


def test_waves():
    after, wrong = order.dependants(["nas", "db", "web", "x"], {"db": ["n*"], "web": ["db", "none"]})
    assert wrong == []
    assert order.waves(after) == {"web": 0, "x": 0, "db": 1, "nas": 2}


def test_a_guest_that_matches_its_own_glob_does_not_wait_for_itself():
    after, wrong = order.dependants(["a", "b"], {"a": ["*"]})
    assert (order.waves(after), wrong) == ({"a": 0, "b": 1}, [])


def test_a_long_circle_is_cut_once():
    names = [f"g{n}" for n in range(50)]
    after, wrong = order.dependants(names, {name: [names[(n + 1) % 50]] for n, name in enumerate(names)})
    assert len(wrong) == 1
    assert max(order.waves(after).values()) == 49


@pytest.mark.parametrize(
    ("verdicts", "unreachable", "code"),
    [
        ([], False, 0),
        ([("clean", True), ("saved", True)], False, 0),
        ([("clean", True), ("saved", False)], False, 1),
        ([("destroyed", False)], False, 1),
        ([("destroyed", False), ("left", False)], False, 2),
        ([("lost", False)], False, 2),
        ([("left", True)], False, 0),
        ([("clean", True)], True, 3),
    ],
)
def test_exit_code(verdicts, unreachable, code):
    assert decide.exit_code(verdicts, unreachable) == code
