"""The next shutdown and the next boot, foretold. tests/runtime holds them against real stops."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvg import timeline
from lvg.stopvm import force, guest, notify, opening, order, requests, restore, settle, stop, timing
from lvg.stopvm.history import Entry
from lvg.timeline import Boot, Start, Step, Timeline
from lvg.timeline.boot import AGENT_WITHIN, TURN_WITHIN
from lvg.timeline.effective import effective
from lvg.timeline.latest import Limits
from planned import plan, rules, running


def steps(line: Timeline) -> dict[str, Step]:
    return {step.name: step for step in line.steps}


def starts(boot: Boot) -> dict[str, Start]:
    return {start.name: start for start in boot.starts}


def test_the_limits_are_those_of_stopvm() -> None:
    stops = inspect.signature(stop.Stop).parameters
    ours = Limits()
    assert ours.answer == requests.ANSWER_WITHIN
    assert ours.taken == inspect.signature(requests.Requests.taken).parameters["seconds"].default
    assert ours.put_away == guest._PUT_AWAY_AFTER + force._DESTROYED_WITHIN
    assert ours.destroyed == 2 * force._DESTROYED_WITHIN
    assert ours.least_save == stops["least_save"].default
    assert ours.extended == 2 * notify.EXTEND_BY
    assert ours.opening == stops["patience"].default == opening._PATIENCE
    back = inspect.signature(restore.Restore).parameters
    assert (back["agent_within"].default, back["turn_within"].default) == (AGENT_WITHIN, TURN_WITHIN)


def test_nothing_runs() -> None:
    line = plan(rules(), [])
    assert (line.steps, line.worst, line.expected, line.net) == ((), 0, 0, 0)
    assert line.fits(1)


def test_what_others_need_waits_for_them() -> None:
    policy = rules(guests=[{"match": "web*", "needs": ["db"]}, {"match": "db", "needs": ["nas"]}])
    line = plan(policy, running("nas", "db", "web2", "web1"), web1=10, web2=20, db=30, nas=5)
    assert [[step.name for step in wave] for wave in line.waves()] == [["web1", "web2"], ["db"], ["nas"]]
    found = steps(line)
    assert found["db"].after == ("web1", "web2")
    assert (found["db"].begins, found["db"].ends) == (5 + 20, 5 + 20 + 30)
    assert found["nas"].begins_late == found["db"].deadline
    assert line.expected == found["nas"].ends == 60


def test_a_circle_of_needs_is_told_and_does_not_stop_the_plan() -> None:
    policy = rules(guests=[{"match": "a", "needs": ["b"]}, {"match": "b", "needs": ["a"]}])
    line = plan(policy, running("a", "b"))
    assert len(line.steps) == 2
    assert "need each other" in line.wrong[0]


def test_a_guest_of_which_no_stop_is_known_is_expected_to_take_its_time() -> None:
    found = steps(plan(rules(timeout=100), running("known", "new"), known=7))
    assert (found["known"].ends, found["known"].guessed) == (12, False)
    assert (found["new"].ends, found["new"].guessed) == (105, True)


def test_the_time_for_all_may_leave_a_guest_less_than_its_timeout() -> None:
    policy = rules(budget=300, timeout=250, guests=[{"match": "web", "needs": ["db"]}])
    found = steps(plan(policy, running("web", "db")))
    assert found["web"].granted < 150
    assert found["db"].granted < 150
    assert found["db"].timeout == 250


def test_a_budget_that_leaves_no_time_for_libvirt_guests_is_cut() -> None:
    line = plan(rules(budget=3000), running("a"))
    assert (line.budget, line.within) == (3000, 1740 - 240)


@pytest.mark.parametrize(
    ("name", "net", "policy", "seconds"),
    [
        ("in parallel, one URI", {"parallel": 100, "shutdown_timeout": 60}, {}, 60),
        ("one after another", {"parallel": 0, "shutdown_timeout": 60}, {}, 180),
        ("for ever: until systemd cuts off", {"parallel": 100, "shutdown_timeout": 0}, {}, 1800),
        ("saved: as long as a save takes", {"on_shutdown": "suspend"}, {}, 3 * 25),
        ("all are destroyed before", {"shutdown_timeout": 60}, {"on_timeout": ["save", "destroy"]}, 0),
        ("left by the policy", {"shutdown_timeout": 60}, {"action": "none", "on_timeout": ["destroy"]}, 60),
    ],
)
def test_what_libvirt_guests_may_use(name: str, net: dict[str, Any], policy: dict[str, Any], seconds: float) -> None:
    line = plan(rules(net=net, **policy), running("a", "b", "c"))
    assert line.net == seconds, name
    assert line.worst == line.stopped + seconds


def test_libvirt_guests_takes_one_uri_after_another() -> None:
    guests = [*running("a", "b"), *running("c", uri="lxc:///")]
    assert plan(rules(net={"shutdown_timeout": 60}), guests).net == 120


def test_what_is_left_to_libvirt_guests_ends_behind_the_others() -> None:
    policy = rules(guests=[{"match": "old", "action": "none"}])
    line = plan(policy, running("old", "web"), web=10, old=20)
    found = steps(line)
    assert found["old"].methods == ()
    assert (found["old"].begins, found["old"].ends) == (found["web"].ends, found["web"].ends + 20)
    assert (found["old"].begins_late, found["old"].deadline) == (line.stopped, line.worst)


@pytest.mark.parametrize(
    ("limit", "ups", "fits"), [(None, None, True), (1800, None, True), (100, None, False), (None, 100, False)]
)
def test_it_fits_or_not(limit: float | None, ups: float | None, fits: bool) -> None:
    assert plan(rules(), running("a"), limit).fits(ups) is fits


@pytest.mark.parametrize(
    ("facts", "policy", "what", "forced"),
    [
        ({}, {}, "agent, acpi", "saved, else left to libvirt-guests"),
        ({"agent": "none"}, {"on_timeout": ["save", "destroy"]}, "acpi", "saved, else destroyed"),
        ({"persistent": False}, {}, "agent, acpi", "left to libvirt-guests"),
        ({"cannot_save": ("a shared folder",)}, {}, "agent, acpi", "left to libvirt-guests"),
        ({"state": "paused"}, {}, "saved, paused", "saved, else left to libvirt-guests"),
        ({"state": "pmsuspended"}, {}, "woken, agent, acpi", "saved, else left to libvirt-guests"),
        ({"state": "crashed"}, {"on_timeout": ["destroy"]}, "has crashed", "destroyed"),
        ({}, {"action": "save"}, "saved", "saved, else left to libvirt-guests"),
        ({}, {"action": "none"}, "left to libvirt-guests", ""),
    ],
)
def test_how_a_guest_is_stopped(facts: dict[str, Any], policy: dict[str, Any], what: str, forced: str) -> None:
    (step,) = plan(rules(**policy), running("g", **facts)).steps
    assert (step.what, step.forced) == (what, forced)


def units(usec: str, action: str = "poweroff-force") -> dict[str, dict[str, str]]:
    one = {"JobTimeoutUSec": usec, "JobTimeoutAction": action}
    return {"poweroff.target": one, "reboot.target": {**one, "JobTimeoutUSec": "1h"}}


@pytest.mark.parametrize(
    ("shown", "limit"),
    [
        (units("30min"), 1800),
        (units("1min 30s"), 90),
        (units("infinity"), 3600),
        (units("30min", action="none"), None),
        ({}, None),
    ],
)
def test_systemds_limit_is_the_nearest_that_acts(shown: dict[str, dict[str, str]], limit: float | None) -> None:
    assert timeline.limit_of(shown) == limit


def test_each_value_of_the_policy_names_the_rule_it_comes_from() -> None:
    policy = rules(
        timeout=100, guests=[{"match": "db*", "timeout": 300, "resend": 5}, {"match": "db1", "timeout": 600}]
    )
    found = {each.key: (each.value, each.match) for each in effective(policy, "db1")}
    assert found["timeout"] == (600, "db1")
    assert found["resend"] == (5, "db*")
    assert found["action"] == ("shutdown", "")
    assert dict(found) == {key: (getattr(policy.for_guest("db1"), key), match) for key, (_, match) in found.items()}


NAMES = st.sampled_from("abcdef")


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(NAMES, st.lists(NAMES, max_size=3, unique=True), min_size=1),
    st.sampled_from([0, 1, 2, 5]),
    st.dictionaries(NAMES, st.floats(0.1, 1000)),
    st.sampled_from([60, 600, 6000]),
)
def test_plans_keep_what_stopvm_keeps(
    needs: dict[str, list[str]], parallel: int, usual: dict[str, float], budget: float
) -> None:
    policy = rules(
        parallel=parallel,
        budget=budget,
        guests=[{"match": name, "needs": others} for name, others in needs.items()],
    )
    line = plan(policy, running(*needs), **usual)
    found, after = steps(line), order.dependants(list(needs), needs)[0]
    assert {name: step.wave for name, step in found.items()} == order.waves(after)
    for name, step in found.items():
        assert set(step.after) == after[name]
        assert all(found[other].ends <= step.begins + 0.001 for other in step.after)
        assert step.begins <= step.ends <= step.deadline
        assert step.begins <= step.begins_late <= step.deadline
        assert step.granted <= timing.guest_seconds(policy.for_guest(name), line.within) + Limits().opening
    assert line.stopped <= line.delay + line.within + Limits().least_save + Limits().extended
    assert line.worst == line.stopped + line.net >= max(step.deadline for step in line.steps)
    assert line.expected == max(step.ends for step in line.steps)


def test_what_ran_comes_back_in_order() -> None:
    policy = rules(
        boot="restore",
        start_delay=10,
        guests=[{"match": "web*", "needs": ["db"]}, {"match": "db", "wait_for": "agent"}],
    )
    guests = running("web1", "web2", "db", "other")
    back = timeline.boot(policy, guests, "ignore")
    found = starts(back)
    assert {start.by for start in back.starts} == {"stopvm"}
    assert (found["db"].wave, found["web1"].wave, found["web1"].after) == (0, 1, ("db",))
    assert found["web1"].begins >= found["db"].begins + 10
    assert found["web1"].begins_late >= found["db"].begins_late + AGENT_WITHIN
    assert abs(found["web1"].begins - found["web2"].begins) == 10
    names = [entry.name for entry in settle.start_order(policy, [Entry("", "", each.name) for each in guests])]
    assert names.index("db") < names.index("web1")


@pytest.mark.parametrize("needs", [{"a": ["b"], "b": ["a"]}, {"*": ["a", "b"]}, {"a": ["b"], "b": ["c"], "c": ["a"]}])
@pytest.mark.parametrize("names", ["abc", "cba", "bca"])
def test_a_circle_of_needs_holds_up_no_start(needs: dict[str, list[str]], names: str) -> None:
    policy = rules(boot="restore", guests=[{"match": name, "needs": others} for name, others in needs.items()])
    found = starts(timeline.boot(policy, running(*names), "ignore"))
    assert sorted(found) == ["a", "b", "c"]
    assert all(found[other].wave < start.wave for start in found.values() for other in start.after)


def test_autostart_holds_up_no_other_start() -> None:
    guests = [*running("a", autostart=True), *running("b")]
    back = starts(timeline.boot(rules(boot="restore", start_delay=60), guests, "ignore"))
    assert (back["a"].by, back["b"].by) == ("libvirt", "stopvm")
    assert (back["a"].begins, back["b"].begins) == (0, 0)


@pytest.mark.parametrize(
    ("policy", "on_boot", "facts", "by"),
    [
        ({"boot": "ignore"}, "ignore", {}, "nobody"),
        ({"boot": "ignore"}, "ignore", {"autostart": True}, "libvirt"),
        ({"boot": "ignore", "action": "none"}, "start", {}, "libvirt-guests"),
        ({"boot": "ignore"}, "start", {}, "nobody"),  # it starts only what it stopped itself
        ({"boot": "restore"}, "ignore", {"persistent": False}, "nobody"),
        ({"boot": "restore"}, "ignore", {}, "stopvm"),
    ],
)
def test_who_brings_a_guest_back(policy: dict[str, Any], on_boot: str, facts: dict[str, Any], by: str) -> None:
    (start,) = timeline.boot(rules(**policy), running("g", **facts), on_boot).starts
    assert start.by == by
