"""The seconds of a plan, added up by hand: what each of stopvm's steps may take is in timeline.latest.Limits.

A stop begins 5 s after the order (logind), and 3 s later at the latest stopvm knows who runs. A guest of 1000 MiB is
saved in 25 s; one that shut itself down has 60 s until its process is ended, and a destroy takes 90 s.
"""

from typing import Any

import pytest

from lvg import timeline
from lvg.timeline import Boot, Start, Step, Timeline, words
from lvg.timeline.latest import Limits
from lvg.timeline.limit import limit_of
from planned import plan, rules, running

HOST_COMMANDS = {"before_stop_host": [["a"], ["b"]], "hook_timeout": 10}
GUEST_COMMANDS = {"before_stop": [["a"], ["b"]], "hook_timeout": 10}


@pytest.mark.parametrize(
    ("name", "facts", "policy", "deadline", "granted"),
    [
        ("240 s for itself, then 60", {}, {}, 8 + 240 + 60, 240),
        ("100 s for itself", {}, {"timeout": 100}, 8 + 100 + 60, 100),
        ("a save of 405 s is longer than 60", {"memory": 20000.0}, {}, 8 + 240 + 405, 240),
        ("saved, and destroyed if that fails", {"memory": 20000.0}, {"on_timeout": ["save", "destroy"]}, 743, 240),
        ("a device stands against the save", {"hostdev": True, "memory": 20000.0}, {}, 308, 240),
        ("destroyed, its process in any case", {}, {"on_timeout": ["destroy"]}, 308 + 90, 240),
        ("what stands behind leave is not done", {}, {"on_timeout": ["destroy", "leave", "save"]}, 308 + 90, 240),
        ("a small budget: 25 s of 197 for the save", {}, {"budget": 200}, 5 + 3 + 172 + 60, 172),
        ("paused: saved, resumed after a failure, asked", {"state": "paused"}, {}, 308 + 25 + 30, 0),
        ("asleep: woken, saved if that fails", {"state": "pmsuspended"}, {}, 308 + 30 + 25, 240),
        ("crashed: nothing but the save", {"state": "crashed"}, {}, 8 + 60, 0),
        ("crashed: destroyed", {"state": "crashed"}, {"on_timeout": ["destroy"]}, 8 + 60 + 90, 0),
        ("goes down already", {"state": "shutdown"}, {}, 308, 0),
        ("would start again: told not to, or saved", {"on_poweroff": "restart"}, {}, 308 + 30 + 25 + 30, 240),
        ("that and paused", {"on_poweroff": "restart", "state": "paused"}, {}, 308 + 25 + 2 * 30, 0),
        ("that and asleep", {"on_poweroff": "restart", "state": "pmsuspended"}, {}, 308 + 2 * 30 + 25 + 30, 240),
        ("that and goes down already", {"on_poweroff": "restart", "state": "shutdown"}, {}, 308, 0),
        ("that and transient", {"on_poweroff": "restart", "persistent": False}, {}, 308 + 30 + 30, 240),
        ("saved by the policy", {}, {"action": "save"}, 308 + 25, 0),
        ("transient: asked in place of saved", {"persistent": False}, {"action": "save"}, 308, 240),
        ("two commands in the guest", {}, GUEST_COMMANDS, 308 + 2 * (10 + 25), 240),
        ("no agent, so no commands in it", {"agent": "none"}, GUEST_COMMANDS, 308, 240),
        ("two commands on the host", {}, HOST_COMMANDS, 308 + 2 * 10, 240),
        ("saved if they fail", {}, {**HOST_COMMANDS, "on_hook_failure": "save"}, 308 + 2 * 10 + 25, 240),
        ("the same in the guest", {}, {**GUEST_COMMANDS, "on_hook_failure": "save"}, 308 + 2 * 35 + 25, 240),
        ("no commands, so none fails", {}, {"on_hook_failure": "save"}, 308, 240),
        ("a save by somebody else: half of the time", {"job": "save"}, {}, 308 + (1200 - 3) / 2 + 30, 240),
        ("a snapshot: a minute, and 30 s to abort it", {"job": "snapshot"}, {}, 308 + 60 + 30, 240),
        ("a backup stands in no way", {"job": "backup"}, {}, 308, 240),
        (
            "no save by the policy, so no time kept for one",
            {"memory": 20000.0},
            {"on_timeout": ["destroy"], "timeout": 1000, "budget": 300},
            5 + 300 + 30 + 20,
            297 * 0.9,
        ),
        ("no save possible, so no second kept for one", {"hostdev": True}, {"budget": 5}, 5 + 5 + 30 + 20, 2 * 0.9),
        ("a snapshot of a paused guest", {"job": "snapshot", "state": "paused"}, {}, 308 + 25 + 30 + 90, 0),
        ("and of one that sleeps: it is woken", {"job": "snapshot", "state": "pmsuspended"}, {}, 308 + 30 + 25, 240),
        ("and of a crashed one", {"job": "snapshot", "state": "crashed"}, {}, 8 + 60, 0),
    ],
)
def test_by_when_a_guest_has_ended(
    name: str, facts: dict[str, Any], policy: dict[str, Any], deadline: float, granted: float
) -> None:
    (step,) = plan(rules(**policy), running("g", **facts)).steps
    assert (step.begins_late, step.deadline, step.granted) == (8, deadline, granted), name


def test_commands_that_take_all_the_time_of_a_wave_leave_each_next_one_a_second() -> None:
    guests = [{"match": "web", "needs": ["db"], "before_stop_host": [["a"], ["b"], ["c"]]}]
    step = plan(rules(hook_timeout=1000, guests=guests), running("web", "db")).steps[0]
    wave = (1200 - 3) / 2
    assert (step.name, step.deadline, step.granted) == ("web", 8 + wave + 1 + 1 + 60, 0)


def test_a_save_that_takes_too_long_ends_when_all_has_to_be_done() -> None:
    (step,) = plan(rules(), running("g", memory=200_000.0)).steps
    assert (step.deadline, step.granted) == (5 + 1200, 240)


def test_a_save_that_is_late_has_its_least_time() -> None:
    policy = rules(budget=300, timeout=1000, before_stop_host=[["a"]], hook_timeout=1000, on_timeout=["save"])
    (step,) = plan(policy, running("g", memory=5000.0, state="crashed")).steps
    assert step.deadline == min(8 + 297 + 60, 5 + 300 + 30 + 20)


def test_stopvm_is_ended_at_last_and_so_nothing_takes_longer() -> None:
    (step,) = plan(rules(budget=100, on_timeout=["destroy"]), running("g")).steps
    assert step.deadline == 5 + 100 + 30 + 20


def seconds(line: Timeline) -> dict[str, tuple[float, ...]]:
    return {step.name: (step.begins, step.ends, step.begins_late, step.deadline) for step in line.steps}


def test_each_wave_begins_when_the_one_before_has_ended() -> None:
    policy = rules(guests=[{"match": "web", "needs": ["db"]}, {"match": "db", "needs": ["nas"]}])
    line = plan(policy, running("nas", "db", "web"), web=10, db=20, nas=30)
    assert [(step.name, step.wave, step.after) for step in line.steps] == [
        ("web", 0, ()),
        ("db", 1, ("web",)),
        ("nas", 2, ("db",)),
    ]
    assert seconds(line) == {"web": (5, 15, 8, 308), "db": (15, 35, 308, 608), "nas": (35, 65, 608, 908)}
    assert (line.expected, line.stopped, line.worst) == (65, 908, 908 + 240)


@pytest.mark.parametrize(
    ("name", "parallel", "guests", "found"),
    [
        ("one after another: 315 s for each other one, since saves share the disk", 1, ["a", "b", "c"],
         {"a": (5, 15, 638, 953), "b": (15, 35, 638, 953), "c": (35, 275, 638, 953)}),
        ("two at a time, and two guests: nobody waits", 2, ["a", "b"],
         {"a": (5, 15, 8, 308), "b": (5, 25, 8, 308)}),
        ("two at a time, and one that is left to libvirt-guests", 2, ["a", "b", "o"],
         {"a": (5, 15, 8, 308), "b": (5, 25, 8, 308), "o": (25, 32, 308, 548)}),
        ("two at a time, and four: half of the others before", 2, ["a", "b", "c", "d"],
         {"a": (5, 15, 518, 858), "b": (5, 25, 518, 858), "c": (15, 255, 518, 858), "d": (25, 265, 518, 858)}),
        ("one that is left takes no turn", 1, ["a", "b", "o"],
         {"a": (5, 15, 308, 608), "b": (15, 35, 308, 608), "o": (35, 42, 608, 848)}),
        ("no limit", 0, ["a", "b", "c"],
         {"a": (5, 15, 8, 323), "b": (5, 25, 8, 323), "c": (5, 245, 8, 323)}),
    ],
)  # fmt: skip
def test_where_only_so_many_are_stopped_at_once(
    name: str, parallel: int, guests: list[str], found: dict[str, tuple[float, ...]]
) -> None:
    policy = rules(parallel=parallel, guests=[{"match": "o", "action": "none"}])
    line = plan(policy, running(*guests), a=10, b=20, o=7)
    assert seconds(line) == found, name


def test_saves_share_the_disk() -> None:
    line = plan(rules(action="save"), running("a", "b", memory=5000.0))
    assert {(step.begins, step.ends) for step in line.steps} == {(5, 5 + 2 * 105)}
    # at the deadline a second save of both is tried
    assert {step.deadline for step in line.steps} == {8 + 2 * 105 + 240 + 2 * 105}
    crashed = plan(rules(), running("a", "b", memory=5000.0, state="crashed"))
    assert {(step.ends, step.deadline) for step in crashed.steps} == {(5 + 2 * 105, 8 + 2 * 105)}


def test_saves_of_two_guests_of_one_name_share_the_disk_too() -> None:
    guests = [*running("a", memory=5000.0), *running("a", uri="lxc:///", memory=5000.0)]
    assert {step.ends for step in plan(rules(action="save"), guests).steps} == {5 + 2 * 105}


def test_what_is_never_saved_keeps_no_disk_busy() -> None:
    left = {"match": "o", "action": "none", "before_stop_host": [["x"]], "on_hook_failure": "save"}
    steps = plan(rules(guests=[left]), [*running("a"), *running("o", memory=20000.0)]).steps
    assert steps[0].deadline == 308


def test_where_all_is_left_to_libvirt_guests_it_begins_at_once() -> None:
    assert seconds(plan(rules(action="none"), running("a"))) == {"a": (5, 245, 5, 245)}


def test_other_limits_than_the_usual_ones() -> None:
    (step,) = timeline.of(rules(on_timeout=["destroy"]), running("a"), {}, None, Limits(destroyed=1.0)).steps
    assert step.deadline == 308 + 1


@pytest.mark.parametrize(
    ("facts", "policy", "ends"),
    [
        ({"state": "crashed"}, {"on_timeout": ["destroy"]}, 5),
        ({"state": "crashed"}, {"on_timeout": ["destroy", "save"]}, 5),
        ({"state": "crashed", "cannot_save": ("a shared folder",)}, {}, 5),
        ({"state": "crashed"}, {"on_timeout": ["save", "destroy"]}, 30),
        ({"state": "paused"}, {}, 30),
        ({}, {"action": "save"}, 30),
        ({"cannot_save": ("a shared folder",)}, {"action": "save"}, 15),
        ({}, {}, 15),
        ({}, {"timeout": 4}, 9),
    ],
)
def test_when_a_guest_is_expected_to_have_ended(facts: dict[str, Any], policy: dict[str, Any], ends: float) -> None:
    (step,) = plan(rules(**policy), running("g", **facts), g=10).steps
    assert (step.begins, step.ends) == (5, ends)


def test_a_guest_that_ends_at_once_holds_nobody_up() -> None:
    line = plan(rules(guests=[{"match": "web", "needs": ["db"]}]), running("db", "web"), web=0.5, db=1)
    assert [step.begins for step in line.steps] == [5, 5.5]


def test_a_guest_of_which_nothing_is_known_is_expected_to_use_its_wave() -> None:
    policy = rules(budget=400, timeout=1000, guests=[{"match": "web", "needs": ["db"]}])
    line = plan(policy, running("db", "web", memory=0.0))
    assert [(step.begins, step.ends) for step in line.steps] == [(5, 5 + 180), (185, 185 + 198)]


def test_two_guests_of_one_name_are_waited_for_both() -> None:
    policy = rules(guests=[{"match": "web", "needs": ["db"]}, {"match": "db", "needs": ["nas"]}])
    guests = [*running("nas", "db", "web"), *running("db", uri="lxc:///", state="crashed", memory=2000.0)]
    backwards = plan(policy, guests[::-1], web=10, db=30, nas=1)
    line = plan(policy, guests, web=10, db=30, nas=1)
    assert backwards == line
    assert [(step.name, step.uri, step.begins, step.ends) for step in line.steps] == [
        ("web", "default", 5, 15),
        ("db", "default", 15, 45),
        ("db", "lxc:///", 15, 60),
        ("nas", "default", 60, 61),
    ]
    assert line.steps[3].begins_late == max(step.deadline for step in line.steps[1:3])


@pytest.mark.parametrize(
    ("name", "net", "usual", "found"),
    [
        ("its usual time", {}, 7, (15, 22)),
        ("at most what libvirt-guests gives it", {}, 700, (15, 255)),
        ("nothing is known: all of that", {}, None, (15, 255)),
        ("saved: 25 s for each of two, whatever a shutdown took", {"on_shutdown": "suspend"}, 7, (15, 65)),
    ],
)
def test_a_guest_that_is_left_to_libvirt_guests(
    name: str, net: dict[str, Any], usual: float | None, found: tuple[float, float]
) -> None:
    policy = rules(net=net, guests=[{"match": "o", "action": "none"}])
    known = {} if usual is None else {"o": usual}
    step = plan(policy, running("a", "o"), a=10, **known).steps[1]
    assert (step.begins, step.ends) == found, name
    assert (step.what, step.left, step.waits_for_net) == ("left to libvirt-guests", True, True)


@pytest.mark.parametrize(
    ("net", "limit", "found"),
    [
        ({"shutdown_timeout": 0}, None, 1800),
        ({"shutdown_timeout": 0}, 600, 600),
        ({"shutdown_timeout": 10, "parallel": 1}, 600, 20),
        ({"shutdown_timeout": 10, "parallel": 2}, 600, 10),
    ],
)
def test_how_long_libvirt_guests_may_take(net: dict[str, Any], limit: float | None, found: float) -> None:
    assert plan(rules(net=net), running("a", "b"), limit).net == found


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        ({}, False),
        ({"on_hook_failure": "skip"}, False),
        ({"before_stop": [["x"]], "on_hook_failure": "skip"}, True),
        ({"before_stop_host": [["x"]], "on_hook_failure": "skip"}, True),
        ({"before_stop_host": [["x"]]}, False),
        ({"on_timeout": ["save"]}, True),
        ({"on_timeout": ["leave", "destroy"]}, True),
    ],
)
def test_who_may_be_left_to_libvirt_guests(policy: dict[str, Any], left: bool) -> None:
    (step,) = plan(rules(**{"on_timeout": ["destroy"], **policy}), running("a")).steps
    assert step.left is left


def test_a_guest_has_several_reasons_that_stand_against_its_save() -> None:
    (guest,) = running("a", cannot_save=("a shared folder", "a USB stick"))
    assert words.cannot_save(guest) == "a shared folder; a USB stick"
    (step,) = plan(rules(action="save"), [guest]).steps
    assert (step.what, step.methods, step.forced) == ("agent, acpi", ("agent", "acpi"), "left to libvirt-guests")


@pytest.mark.parametrize(
    ("state", "what", "methods"),
    [
        ("shutdown", "goes down already", ()),
        ("crashed", "has crashed", ()),
        ("pmsuspended", "woken, agent, acpi", ("agent", "acpi")),
        ("paused", "saved, paused", ()),
    ],
)
def test_how_a_guest_is_asked(state: str, what: str, methods: tuple[str, ...]) -> None:
    (step,) = plan(rules(), running("a", state=state)).steps
    assert (step.what, step.methods) == (what, methods)


def test_a_plan_that_ends_with_the_limit_still_fits() -> None:
    line = plan(rules(), running("a"))
    assert line.worst == 548
    assert [line.fits(ups) for ups in (547, 548, 549)] == [False, True, True]
    assert [plan(rules(), running("a"), limit).fits() for limit in (547, 548)] == [False, True]


@pytest.mark.parametrize(
    ("shown", "limit"),
    [
        ({"JobTimeoutUSec": "1min", "JobTimeoutAction": ""}, None),
        ({"JobTimeoutUSec": "1min", "JobTimeoutAction": "none"}, None),
        ({"JobTimeoutUSec": "1min"}, None),
        ({"JobTimeoutAction": "poweroff"}, None),
        ({"JobTimeoutUSec": "1min", "JobTimeoutAction": "poweroff"}, 60),
    ],
)
def test_the_limit_of_one_target(shown: dict[str, str], limit: float | None) -> None:
    assert limit_of({"reboot.target": shown}) == limit


def test_who_comes_back_without_stopvm() -> None:
    guests = [*running("b"), *running("t", persistent=False), *running("c", autostart=True)]
    guests += [*running("a", uri="lxc:///"), *running("a")]
    back = timeline.boot(rules(guests=[{"match": "a", "action": "none"}]), guests, "start")
    assert back.starts == (
        Start("a", "default", "libvirt-guests"),
        Start("a", "lxc:///", "libvirt-guests"),
        Start("b", "default", "nobody", why="boot = ignore"),
        Start("c", "default", "libvirt"),
        Start("t", "default", "nobody", why="transient"),
    )
    assert (back.expected, back.worst) == (0, 0)


def test_when_each_guest_is_started() -> None:
    """At worst a start takes 15 s, and an agent 120 s to come up."""
    policy = rules(
        boot="restore",
        start_delay=10,
        guests=[{"match": "web*", "needs": ["db"]}, {"match": "db", "wait_for": "agent", "start_delay": 2}],
    )
    back = timeline.boot(policy, [*running("web1", "web2", "db"), *running("t", persistent=False)], "ignore")
    assert back.starts == (
        Start("db", "default", "stopvm", 0, (), 0, 0, 2, "agent"),
        Start("web1", "default", "stopvm", 1, ("db",), 2, 15 + 120, 10),
        Start("web2", "default", "stopvm", 1, ("db",), 12, 15 + 120 + 15 + 10, 10),
        Start("t", "default", "nobody", why="transient"),
    )
    assert (back.expected, back.worst) == (12, 160 + 15)


def test_what_libvirt_starts_itself_takes_no_turn() -> None:
    policy = rules(
        boot="restore", guests=[{"match": "web", "needs": ["db", "nas"]}, {"match": "db", "wait_for": "agent"}]
    )
    back = timeline.boot(policy, [*running("web", "x", "y"), *running("db", "nas", autostart=True)], "ignore")
    assert [(start.name, start.by, start.begins, start.begins_late) for start in back.starts] == [
        ("db", "libvirt", 0, 0),
        ("nas", "libvirt", 0, 0),
        ("x", "stopvm", 0, 0),
        ("y", "stopvm", 0, 15),
        ("web", "stopvm", 0, 120),
    ]
    assert (back.expected, back.worst) == (0, 120 + 15)


def test_two_of_one_name_are_both_up_before_what_needs_them() -> None:
    policy = rules(boot="restore", guests=[{"match": "web", "needs": ["db"]}])
    back = timeline.boot(policy, [*running("db"), *running("db", uri="lxc:///"), *running("web")], "ignore")
    assert [(start.name, start.uri, start.begins_late) for start in back.starts] == [
        ("db", "default", 0),
        ("db", "lxc:///", 15),
        ("web", "default", 30),
    ]
    waiting = rules(boot="restore", guests=[{"match": "web", "needs": ["db"]}, {"match": "db", "wait_for": "agent"}])
    guests = [*running("db"), *running("db", uri="lxc:///", autostart=True), *running("web")]
    assert timeline.boot(waiting, guests, "ignore").starts[2].begins_late == 15 + 120


def test_nobody_comes_back_where_nobody_runs() -> None:
    assert timeline.boot(rules(boot="restore"), [], "ignore") == Boot((), 0, 0)
    assert plan(rules(), []) == Timeline((), 1200, 0, 1800, 0, 0, (), 1200, 5, 5)


def test_a_step_is_told_whole() -> None:
    (step,) = plan(rules(), running("a"), a=10).steps
    assert step == Step(
        name="a", uri="default", wave=0, after=(), methods=("agent", "acpi"), what="agent, acpi",
        forced="saved, else left to libvirt-guests", timeout=240, usual=10, begins=5, ends=15, begins_late=8,
        deadline=308, granted=240, left=True, waits_for_net=False,
    )  # fmt: skip
