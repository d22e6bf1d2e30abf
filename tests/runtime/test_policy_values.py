"""What is said of a wrong value of the policy, a stop by hand, and which guest is left to whom."""

import os

import pytest

from lvg.stopvm import decide, order, policy, timing
from lvg.stopvm.decide import Facts
from lvg.stopvm.policy import GuestPolicy, Net, Policy


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"timeout": -1}, "timeout = -1: not a number of at least 0; ignored"),
        ({"budget": 10**7 + 1}, "budget = 10000001: not a number of at least 0; ignored"),
        ({"sync_time": "yes"}, "sync_time = 'yes': not true or false; ignored"),
        ({"profile": 1}, "profile = 1: not a text; ignored"),
        ({"needs": "nas"}, "needs = 'nas': not a list of texts; ignored"),
        ({"before_stop": [[]]}, "before_stop = [[]]: not a list of commands; ignored"),
        ({"wait_for": "ping"}, "wait_for = 'ping': not one of '', 'agent'; ignored"),
        ({"methods": ["acpi", "bell"]}, "methods = ['acpi', 'bell']: 'bell' is not one of agent, acpi; ignored"),
        ({"net": {"parallel": "x"}}, "net.parallel = 'x': not a number of at least 0; ignored"),
        ({"guests": {}}, "guests: not a list of rules; ignored"),
        ({"guests": "db"}, "guests: not a list of rules; ignored"),
        ({"guests": [7]}, "guests: 7 is not a rule; ignored"),
        ({"guests": [{"match": "db*", "action": 1}]},
         "guests db*: action = 1: not one of 'shutdown', 'save', 'none'; ignored"),
    ],
)  # fmt: skip
def test_of_a_wrong_value_its_place_and_its_fault_are_said(data, said):
    found = policy.compile_policy(data)
    assert found.complaints == (said,)
    assert found == Policy(rules=found.rules)
    assert all(rule.values == () for rule in found.rules)


@pytest.mark.parametrize(
    ("data", "key", "value"),
    [
        ({"timeout": 10**7}, "timeout", 10**7),
        ({"timeout": 0}, "timeout", 0),
        ({"wait_for": "agent"}, "wait_for", "agent"),
        ({"wait_for": ""}, "wait_for", ""),
        ({"methods": ["acpi"]}, "methods", ("acpi",)),
        ({"on_timeout": ["destroy", "leave"]}, "on_timeout", ("destroy", "leave")),
        ({"before_stop": [["fsfreeze", "-f"], ["sync"]]}, "before_stop", (("fsfreeze", "-f"), ("sync",))),
        ({"bypass_cache": True}, "bypass_cache", True),
    ],
)
def test_a_good_value_comes_through_as_it_is(data, key, value):
    found = policy.compile_policy(data)
    assert (getattr(found.base, key), found.complaints) == (value, ())


@pytest.mark.parametrize(("uris", "found"), [([], ("default",)), (["lxc:///"], ("lxc:///",))])
def test_without_a_uri_libvirts_own_is_asked(uris, found):
    assert policy.compile_policy({"uris": uris}).uris == found


def test_a_policy_without_settings_of_libvirt_guests_has_the_usual_ones():
    assert policy.compile_policy({}) == Policy()
    found = policy.compile_policy({"net": "none"})
    assert (found.net, found.complaints) == (Net(), ())


@pytest.mark.parametrize(("on_shutdown", "action"), [("shutdown", "shutdown"), ("suspend", "save")])
def test_by_hand_guests_that_libvirt_guests_would_stop_are_stopped_as_it_would(on_shutdown, action):
    guests = [{"match": "db", "action": "none", "timeout": 7}, {"match": "web", "action": "save"}]
    rules = policy.compile_policy({"action": "none", "net": {"on_shutdown": on_shutdown}, "guests": guests})
    found = policy.by_hand(rules)
    assert [found.for_guest(name).action for name in ("any", "db", "web")] == [action, action, "save"]
    assert (found.for_guest("db").timeout, found.net) == (7, rules.net)


def test_by_hand_what_is_not_left_to_libvirt_guests_stays_as_it_is():
    rules = policy.compile_policy({"action": "save", "guests": [{"match": "x", "wait_for": "", "needs": ["none"]}]})
    assert policy.by_hand(rules) == rules


def test_where_only_qemu_can_be_asked_a_guest_is_asked_and_never_saved():
    found = decide.without_libvirt(GuestPolicy(action="none", timeout=7, on_timeout=("save", "destroy", "leave")))
    assert found == GuestPolicy(action="shutdown", timeout=7, on_timeout=("destroy", "leave"))


def test_a_guest_without_its_agent_is_asked_by_acpi_whatever_the_policy_says():
    assert decide.methods(Facts("u", "n"), GuestPolicy(methods=("agent",))) == ("acpi",)
    assert decide.methods(Facts("u", "n", agent=True), GuestPolicy(methods=("agent",))) == ("agent",)


@pytest.mark.parametrize(
    ("facts", "on_timeout", "line"),
    [
        ({}, ("save", "leave"), "n: did not end in 90 s: saving it"),
        ({}, ("destroy",), "n: did not end in 90 s: destroying it"),
        ({"hostdev": True}, ("save",), "n: did not end in 90 s: leaving it to libvirt-guests"),
        ({"persistent": False}, ("save", "destroy"), "n: did not end in 90 s: destroying it"),
    ],
)
def test_what_comes_next_is_said_of_a_guest_that_does_not_end(facts, on_timeout, line):
    assert decide.late(Facts("u", "n", **facts), GuestPolicy(on_timeout=on_timeout), 89.6) == line


def test_why_a_guest_cannot_be_saved():
    assert decide.why_not_save(Facts("u", "n", persistent=False)) == "it is transient"
    assert decide.why_not_save(Facts("u", "n", hostdev=True)) == "it has a host device"


def test_a_guest_that_ended_by_itself_is_no_failure_though_the_policy_wanted_more():
    assert decide.exit_code([("clean", False)], unreachable=False) == 0


def test_a_name_with_glob_characters_means_that_guest_alone():
    after, wrong = order.dependants(["a*", "ab", "web"], {"web": ["a*"]})
    assert (order.waves(after), wrong) == ({"a*": 1, "ab": 0, "web": 0}, [])


def test_a_circle_is_found_along_each_of_several_ways():
    needs = {"x": ["a"], "y": ["b"], "a": ["c"], "b": ["c"], "c": ["x", "y"]}
    after, wrong = order.dependants(["x", "y", "a", "b", "c"], needs)
    assert wrong == [f"needs: c and {other} need each other; that c needs {other} is ignored" for other in ("x", "y")]
    assert order.waves(after) == {"x": 0, "y": 0, "a": 1, "b": 1, "c": 2}


@pytest.mark.parametrize(("circles", "more"), [(10, 0), (11, 1), (30, 20)])
def test_of_many_circles_the_first_are_told_and_the_others_counted(circles, more):
    names = ["nas", *(f"web{number}" for number in range(circles))]
    wrong = order.dependants(names, {"nas": ["web*"], **{name: ["nas"] for name in names[1:]}})[1]
    last = [f"needs: {more} more close a circle and are ignored"] if more else []
    assert wrong[10:] == last
    assert len(wrong) == 10 + len(last)


def written(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("[]", 0o600, "not a JSON object"),
        ('{"schema": 9}', 0o600, "schema 9 is not known to this stopvm"),
        ('{"schema": 1}', 0o622, "others may write it"),
    ],
)
def test_why_a_policy_is_not_used_is_said_with_what_happens_now(tmp_path, text, mode, reason):
    path = written(tmp_path / "policy.json", text, mode)
    said = f"{path} cannot be used: {reason}. The built-in safe policy stops the guests."
    assert policy.load(path).complaints == (said,)
    path.unlink()
    missing = f"{path} cannot be used: No such file or directory. The built-in safe policy stops the guests."
    assert policy.load(path).complaints == (missing,)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of root's")
def test_a_file_of_roots_is_good_for_everybody(tmp_path, monkeypatch):
    path = written(tmp_path / "policy.json", '{"schema": 1, "profile": "x"}')
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert policy.load(path).profile == "x"


def test_a_guest_that_is_saved_in_no_time_keeps_a_tenth_for_that():
    assert timing.guest_seconds(GuestPolicy(on_timeout=("save",)), 1) == 0.9


def test_what_libvirt_guests_needs_behind_is_left_to_it():
    saves = Policy(budget=1700, net=Net("suspend", 100, 100))
    assert timing.work_seconds(saves, 4, host_goes_down=True) == 1740 - 300
    two = Policy(budget=1700, uris=("a", "b"), net=Net("shutdown", 100, 100))
    assert timing.work_seconds(two, 4, host_goes_down=True) == 1740 - 2 * 100


@pytest.mark.parametrize(
    ("parallel", "guests", "seconds"),
    [(1, 4, 1340), (2, 4, 1640), (0, 0, 1640)],
)
def test_libvirt_guests_has_its_timeout_once_if_it_stops_more_than_one_at_a_time(parallel, guests, seconds):
    rules = Policy(budget=1700, net=Net("shutdown", 100, parallel))
    assert timing.work_seconds(rules, guests, host_goes_down=True) == seconds


def test_a_save_takes_a_second_for_50_mib_and_five_more():
    assert [timing.save_seconds(mib) for mib in (0, 1000, 5000)] == [5, 25, 105]


def test_saves_have_the_second_half_of_the_time_that_is_left():
    saves = [timing.Saving(("default", "a"), 0, 30), timing.Saving(("default", "b"), 0, 25)]
    assert timing.save_starts(saves, begin=20, end=100) == {("default", "b"): 75, ("default", "a"): 60}


def test_each_wave_has_its_share_of_the_time():
    assert timing.wave_share(0, 1) == 1
    assert [timing.wave_share(wave, 4) for wave in range(4)] == [0.25, 0.5, 0.75, 1]
