"""Stopping guests that obey, are deaf, hang or fail. Times are short, and no test relies on them being exact."""

import asyncio
import json
import os
import stat
import time
from pathlib import Path

import pytest

from lvg.stopvm import anew


def test_all_obey(play, act):
    played = play({f"g{n}": act() for n in range(20)})
    assert played.code == 0
    assert set(played.verdicts.values()) == {"clean"}
    assert all(played.asked(f"g{n}") == ["acpi"] for n in range(20))
    assert played.record["ended"]


@pytest.mark.parametrize(
    ("name", "settings", "rules", "asked", "verdict", "code"),
    [
        ("second press", {"presses": 2}, {}, ["acpi", "acpi"], "clean", 0),
        ("deaf, pressed once", {"presses": 0}, {"resend": 0}, ["acpi"], "left", 2),
        ("deaf, saved", {"presses": 0}, {"resend": 0, "on_timeout": ["save", "leave"]}, ["acpi", "save"], "saved", 1),
        (
            "deaf, not to be saved, destroyed",
            {"presses": 0, "save": "no space"},
            {"resend": 0, "on_timeout": ["save", "destroy"]},
            ["acpi", "save", "SIGTERM"],
            "destroyed",
            1,
        ),
        (
            "SIGTERM is not enough",
            {"presses": 0, "destroy": "SIGTERM"},
            {"resend": 0, "on_timeout": ["destroy"]},
            ["acpi", "SIGTERM", "SIGKILL"],
            "destroyed",
            1,
        ),
        (
            "nothing helps",
            {"presses": 0, "save": "no", "destroy": "no"},
            {"resend": 0, "on_timeout": ["save", "destroy", "leave"]},
            ["acpi", "save", "SIGTERM", "SIGKILL"],
            "left",
            2,
        ),
        ("bypass_cache", {}, {"action": "save", "bypass_cache": True}, ["save bypass"], "saved", 0),
        ("agent", {"agent": "obeys"}, {}, ["agent"], "clean", 0),
        ("agent refuses: ACPI at once", {"agent": "fails"}, {"resend": 0}, ["agent", "acpi"], "clean", 0),
        ("only the agent, which refuses", {"agent": "fails"}, {"methods": ["agent"]}, ["agent"], "left", 2),
        ("no agent there", {}, {"methods": ["agent", "acpi"]}, ["acpi"], "clean", 0),
        ("ACPI only, although there is an agent", {"agent": "obeys"}, {"methods": ["acpi"]}, ["acpi"], "clean", 0),
        ("none", {}, {"action": "none"}, [], "left", 0),
        ("save", {}, {"action": "save"}, ["save"], "saved", 0),
        ("save fails: ask", {"save": "no space"}, {"action": "save"}, ["save", "acpi"], "clean", 0),
        ("transient: no save, ask", {"facts": {"persistent": False}}, {"action": "save"}, ["acpi"], "clean", 0),
        (
            "transient and deaf: next step",
            {"presses": 0, "facts": {"persistent": False}},
            {"resend": 0, "on_timeout": ["save", "destroy"]},
            ["acpi", "SIGTERM"],
            "destroyed",
            1,
        ),
        ("only persistent ones", {"facts": {"persistent": False}}, {"persistent_only": "true"}, [], "left", 0),
        (
            "host device: next step",
            {"presses": 0, "facts": {"hostdev": True}},
            {"resend": 0, "on_timeout": ["save", "leave"]},
            ["acpi"],
            "left",
            2,
        ),
        ("paused: saved as it is", {"facts": {"state": "paused"}}, {}, ["save"], "saved", 0),
        (
            "paused and not to be saved: resumed and asked",
            {"save": "no space", "facts": {"state": "paused"}},
            {},
            ["save", "resume", "acpi"],
            "clean",
            0,
        ),
        ("asleep: woken and asked", {"facts": {"state": "pmsuspended"}}, {}, ["wake", "acpi"], "clean", 0),
        (
            "crashed: what on_timeout says, at once",
            {"facts": {"state": "crashed"}},
            {"timeout": 60, "on_timeout": ["destroy"]},
            ["SIGTERM"],
            "destroyed",
            1,
        ),
        ("going down by itself: not asked again", {"facts": {"state": "shutdown"}}, {"timeout": 0.3}, [], "left", 2),
        (
            "reboots when shut down: not this time",
            {"facts": {"on_poweroff": "restart"}},
            {},
            ["ends at poweroff", "acpi"],
            "clean",
            0,
        ),
        (
            "stays when shut down: not this time",
            {"facts": {"on_poweroff": "preserve"}},
            {},
            ["ends at poweroff", "acpi"],
            "clean",
            0,
        ),
        (
            "reboots when shut down, and libvirt cannot change that: saved",
            {"lifecycle": "not supported", "facts": {"on_poweroff": "restart"}},
            {},
            ["ends at poweroff", "save"],
            "saved",
            0,
        ),
        (
            "reboots when shut down, not to be saved",
            {"save": "no", "lifecycle": "no", "facts": {"on_poweroff": "restart"}},
            {"timeout": 60, "on_timeout": ["destroy"]},
            ["ends at poweroff", "save", "ends at poweroff", "SIGTERM"],
            "destroyed",
            1,
        ),
    ],
)
def test_one_guest(play, act, name, settings, rules, asked, verdict, code):
    played = play({"g": act(**settings)}, rules)
    assert (played.asked("g"), played.verdicts["g"], played.code) == (asked, verdict, code), name


@pytest.mark.parametrize(
    ("on_crash", "later", "asked", "verdict", "state"),
    [
        ("preserve", [], ["acpi", "save"], "saved", "crashed"),
        ("destroy", ["stopped:lost"], ["acpi"], "lost", "running"),
        ("restart", ["resumed", "stopped:clean"], ["acpi"], "clean", "running"),
    ],
)
def test_a_guest_crashes_when_it_is_asked(play, act, on_crash, later, asked, verdict, state):
    def crash(session, name):
        loop = asyncio.get_running_loop()
        for seconds, what in enumerate(["crashed", *later]):
            loop.call_later(seconds, session.tell, name, what)

    rules = {"timeout": 100, "budget": 500, "resend": 0, "on_timeout": ["save"]}
    played = play({"g": act()}, rules, ends=crash)
    (guest,) = played.record["guests"]
    assert (played.asked("g"), guest["verdict"], guest["state"]) == (asked, verdict, state), on_crash
    assert ("its kernel panicked" in guest["detail"]) == (on_crash != "restart")
    assert guest["seconds"] < 10, "nobody waits for its deadline"


@pytest.mark.parametrize(
    ("name", "settings", "rules", "asked", "verdict", "code"),
    [
        ("a snapshot is waited for", {"jobs": ["snapshot", "snapshot", "snapshot", ""]}, {}, ["acpi"], "clean", 0),
        ("one that hangs is aborted", {"jobs": ["snapshot"]}, {"timeout": 2}, ["abort job", "acpi"], "clean", 0),
        ("a backup ends with its guest", {"jobs": ["backup"]}, {}, ["acpi"], "clean", 0),
        (
            "a block job is cancelled when there is no other way",
            {"presses": 0, "in_the_way": "the block job of vda"},
            {"resend": 0, "on_timeout": ["save"]},
            ["acpi", "save", "cancel jobs", "save"],
            "saved",
            1,
        ),
    ],
)
def test_jobs_of_others(play, act, name, settings, rules, asked, verdict, code):
    played = play({"g": act(**settings)}, {"budget": 4, **rules})
    assert (played.asked("g"), played.verdicts["g"], played.code) == (asked, verdict, code), name


def test_a_save_by_somebody_else_is_waited_for(play, act, fake, monkeypatch):
    async def job(self, guest):
        asyncio.get_running_loop().call_later(0.1, self.end, guest.name, "saved")
        return "save"

    monkeypatch.setattr(fake, "job", job)
    played = play({"g": act()})
    assert (played.asked("g"), played.verdicts["g"], played.code) == ([], "saved", 0)


def test_a_process_that_stays_after_the_guests_own_end_is_put_away(play, act, monkeypatch):
    monkeypatch.setattr("lvg.stopvm.guest._PUT_AWAY_AFTER", 0.1)
    played = play({"g": act()}, ends=lambda session, name: session.tell(name, "finished"))
    assert (played.asked("g"), played.verdicts["g"], played.code) == (["acpi", "SIGTERM"], "clean", 0)


def test_when_time_runs_short_guests_are_saved_longest_first(play, act, monkeypatch):
    monkeypatch.setattr("lvg.stopvm.timing._SAVE_STARTS", 0.1)
    memory = {"small": 1, "big": 20, "middling": 15}
    acts = {name: act(presses=0, facts={"memory": mib}) for name, mib in memory.items()}
    played = play(acts, {"timeout": 600, "resend": 0, "on_timeout": ["save", "leave"], "budget": 3})
    saves = [who for who, what in played.session.log if what == "save"]
    assert (saves, played.code) == (["big", "middling", "small"], 1)
    assert "time runs short: saving it" in played.said


def test_guests_that_wait_for_a_slot_are_saved_in_time_too(play, act, monkeypatch):
    monkeypatch.setattr("lvg.stopvm.timing._SAVE_STARTS", 0.1)
    rules = {"timeout": 600, "resend": 0, "on_timeout": ["save", "leave"], "budget": 2, "parallel": 1}
    played = play({f"g{n}": act(presses=0) for n in range(4)}, rules)
    assert set(played.verdicts.values()) == {"saved"}


def test_presses_again_until_the_deadline(play, act):
    assert len(play({"g": act(presses=0)}).asked("g")) >= 2


def test_a_bad_guest_does_not_keep_others_from_being_stopped(play, act):
    acts = {"hangs": act(ask="hangs"), "fails": act(ask="internal error"), "agent": act(agent="hangs", presses=0)}
    played = play({**acts, "good": act()})
    assert played.verdicts == {"hangs": "left", "fails": "left", "agent": "left", "good": "clean"}
    assert played.code == 2
    assert "internal error" in played.details
    assert played.record["guests"][3]["seconds"] < played.record["guests"][0]["seconds"]


def test_an_action_for_one_guest(play, act):
    played = play({"db1": act(), "web": act()}, {"guests": [{"match": "db*", "action": "save"}]})
    assert played.verdicts == {"db1": "saved", "web": "clean"}


@pytest.mark.parametrize(("parallel", "most"), [(1, 1), (2, 2), (0, 6)])
def test_parallel_bounds_how_many_are_asked_at_once(play, act, fake, monkeypatch, parallel, most):
    ask, end, asked, at_once = fake.ask, fake.end, set(), []

    async def note(self, guest, way):
        asked.add(guest.name)
        at_once.append(len(asked))
        await ask(self, guest, way)

    def note_end(self, name, how):
        asked.discard(name)
        end(self, name, how)

    monkeypatch.setattr(fake, "ask", note)
    monkeypatch.setattr(fake, "end", note_end)
    played = play({f"g{n}": act() for n in range(6)}, {"parallel": parallel})
    assert set(played.verdicts.values()) == {"clean"}
    assert max(at_once) == most


def test_a_guest_is_stopped_after_those_that_need_it(play, act):
    rules = {"guests": [{"match": "web*", "needs": ["db"]}, {"match": "db", "needs": ["nas"]}]}
    played = play({"nas": act(), "db": act(), "web1": act(presses=2), "web2": act(), "other": act()}, rules)
    asked = [who for who, _ in played.session.log]
    assert asked.index("db") > max(n for n, who in enumerate(asked) if who.startswith("web"))
    assert asked.index("nas") > asked.index("db")
    assert asked.index("other") < asked.index("db")
    assert played.code == 0


def test_a_deaf_dependant_does_not_keep_a_guest_up(play, act):
    played = play({"nas": act(), "web": act(presses=0)}, {"guests": [{"match": "web", "needs": ["nas"]}]})
    assert played.verdicts == {"nas": "clean", "web": "left"}
    assert "still needed by web" in played.details


def test_a_circle_of_needs_is_reported_and_everything_stops(play, act):
    rules = {"guests": [{"match": "a", "needs": ["b"]}, {"match": "b", "needs": ["a"]}]}
    played = play({"a": act(), "b": act()}, rules)
    assert set(played.verdicts.values()) == {"clean"}
    assert "need each other" in played.said


def test_the_budget_ends_it_all(play, act):
    played = play({"g": act(presses=0)}, {"timeout": 1000, "budget": 0.5, "resend": 0})
    assert played.verdicts == {"g": "left"}


def test_the_record_is_there_before_the_first_request(play, act, tmp_path, monkeypatch, fake):
    seen = []
    ask = fake.ask

    async def look(self, guest, way):
        seen.extend(json.loads(path.read_text()) for path in tmp_path.glob("history/*.json"))
        await ask(self, guest, way)

    monkeypatch.setattr(fake, "ask", look)
    play({"g": act()})
    assert [(entry["name"], entry["verdict"]) for entry in seen[0]["guests"]] == [("g", "")]
    assert seen[0]["ended"] == ""


def test_the_record_is_for_root_alone(play, act, tmp_path):
    play({"g": act()})
    folder = tmp_path / "history"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_record_that_cannot_be_written_stops_no_stop(play, act, tmp_path, fake, monkeypatch):
    (tmp_path / "history").write_text("in the way")
    ended, end = [], fake.end

    def note(self, name, how):
        ended.append(name)
        end(self, name, how)

    monkeypatch.setattr(fake, "end", note)
    with pytest.raises(IndexError):  # there is no record to read back
        play({"g": act()})
    assert ended == ["g"]


def test_a_guest_that_ends_while_we_look_around(play, act, monkeypatch, fake):
    running = fake.running

    async def look(self):
        found = await running(self)
        self.end("quick", "clean")
        return found

    monkeypatch.setattr(fake, "running", look)
    played = play({"quick": act(), "g": act()})
    assert (played.verdicts, played.asked("quick")) == ({"quick": "clean", "g": "clean"}, [])


def test_libvirt_out_of_reach(play, act):
    played = play({"g": act()}, unreachable="Broken pipe")
    assert played.code == 3
    assert "<3>libvirt at fake:/// is out of reach: Broken pipe" in played.said


def test_several_uris_and_one_out_of_reach(play, act, fake):
    there, away = fake({"x": act()}, uri="b", real="b"), fake({"y": act()}, uri="c", real="c", unreachable="refused")
    played = play({"g": act()}, also=(there, away))
    assert (played.verdicts, played.code) == ({"g": "clean", "x": "clean"}, 3)


def test_two_uris_for_the_same_host_press_once(play, act, fake):
    again = fake({"g": act()}, uri="fake+unix:///")
    assert play({"g": act()}, also=(again,)).verdicts == {"g": "clean"}
    assert again.log == []


def test_a_guest_of_the_same_name_on_another_host_is_another_guest(play, act, fake):
    other = fake({"g": act()}, uri="b", real="b")
    played = play({"g": act()}, also=(other,))
    assert [guest["verdict"] for guest in played.record["guests"]] == ["clean", "clean"]


def test_the_connection_goes_with_the_last_guest(play, act, monkeypatch, fake):
    end = fake.end

    def end_and_close(self, name, how):
        end(self, name, how)
        if not self.up:
            self.events.closed(self.uri)

    monkeypatch.setattr(fake, "end", end_and_close)
    played = play({"a": act(), "b": act()})
    assert played.code == 0
    assert "lost" not in played.said


def test_the_connection_goes_in_the_middle_and_does_not_come_back(play, act):
    played = play({"a": act(presses=0), "b": act(presses=0)}, {"timeout": 2.5, "resend": 1}, breaks_at=2)
    assert set(played.verdicts.values()) == {"left"}
    assert played.code == 2
    assert "was lost" in played.said


@pytest.mark.parametrize(
    ("account", "verdict"), [("clean", "clean"), ("destroyed", "destroyed"), ("saved", "saved"), ("", "lost")]
)
def test_the_connection_comes_back(play, act, monkeypatch, fake, account, verdict):
    opens = fake.open

    async def reopen(self, events):
        if self.opened == 1:  # meanwhile the guest went down, and nobody could tell
            self.unreachable = ""
            self.up.clear()
        await opens(self, events)

    monkeypatch.setattr(fake, "open", reopen)
    played = play({"a": act(presses=0)}, {"timeout": 5}, breaks_at=1, account=account)
    assert played.verdicts == {"a": verdict}
    assert played.session.opened == 2


@pytest.mark.parametrize(
    ("command", "policy", "asked", "verdict"),
    [
        (["sh", "-c", "exit 0"], "skip", ["acpi"], "clean"),
        (["sh", "-c", "exit 3"], "continue", ["acpi"], "clean"),
        (["sh", "-c", "exit 3"], "save", ["save"], "saved"),
        (["sh", "-c", "exit 3"], "skip", [], "left"),
        (["/nonexistent"], "skip", [], "left"),
        (["sleep", "600"], "skip", [], "left"),
    ],
)
def test_commands_on_the_host(play, act, command, policy, asked, verdict):
    seconds = 0.5 if command[0] == "sleep" else 30
    rules = {"before_stop_host": [command], "hook_timeout": seconds, "on_hook_failure": policy}
    played = play({"g": act()}, {"timeout": 40, "budget": 90, **rules})
    assert (played.asked("g"), played.verdicts["g"]) == (asked, verdict)


@pytest.mark.parametrize(
    ("command", "policy", "asked", "verdict"),
    [
        (["run", "0"], "skip", ["run 0", "agent"], "clean"),
        (["run", "3"], "continue", ["run 3", "agent"], "clean"),
        (["run", "3"], "save", ["run 3", "save"], "saved"),
        (["run", "3"], "skip", ["run 3"], "left"),
        (["hang", "0"], "continue", ["hang 0", "agent"], "clean"),
    ],
)
def test_commands_in_the_guest(play, act, command, policy, asked, verdict):
    rules = {"before_stop": [command], "hook_timeout": 0.3, "on_hook_failure": policy, "timeout": 5}
    played = play({"g": act(agent="obeys")}, rules)
    assert (played.asked("g"), played.verdicts["g"]) == (asked, verdict)
    assert ("<6>g: run: more" in played.said) == (command[0] == "run")


def test_commands_in_a_guest_without_an_agent_are_not_forgotten(play, act):
    played = play({"g": act()}, {"before_stop": [["sync"]]})
    assert played.verdicts == {"g": "clean"}
    assert "<4>g: before_stop: sync: the guest's agent is not there (continue)" in played.said


def test_a_command_knows_its_guest_and_gets_no_shell(play, act, tmp_path):
    out = tmp_path / "out"
    script = f'echo "$LVG_GUEST_NAME $LVG_GUEST_UUID $1" > {out}; echo said'
    played = play({"g": act()}, {"before_stop_host": [["sh", "-c", script, "sh", "$(id); *"]]})
    assert out.read_text() == "g uuid-g $(id); *\n"
    assert "<6>g: sh: said" in played.said


def test_a_hanging_command_is_killed_with_its_children(play, act, tmp_path):
    pid = tmp_path / "pid"
    play({"g": act()}, {"before_stop_host": [["sh", "-c", f"sleep 600 & echo $! > {pid}; wait"]], "hook_timeout": 3})
    state, end = Path(f"/proc/{pid.read_text().strip()}/stat"), time.monotonic() + 20
    while runs(state):
        assert time.monotonic() < end, "it was not killed"
        time.sleep(0.02)


def runs(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_hostile_names_cannot_forge_lines(play, act):
    played = play({"x\n<3>forged\x1b[2J": act()})
    assert "\x1b" not in played.said
    assert all(line.startswith("<") and not line.startswith("<3>") for line in played.said.splitlines())


def test_names_that_are_not_utf8_survive(play, act):
    name = os.fsdecode(b"g\xff")
    assert play({name: act()}).verdicts == {name: "clean"}


@pytest.mark.parametrize(
    ("said", "began"),
    [("", 1000.0), ("990.5", 990.5), ("1001.0", 1000.0), ("600.0", 1000.0), ("nan", 1000.0), ("soon", 1000.0)],
)
def test_a_stop_that_took_the_place_of_another_has_the_time_that_is_left(monkeypatch, said, began):
    monkeypatch.setenv("STOPVM_BEGAN", said)
    assert anew.begin(1000.0, 300.0) == began
    assert "STOPVM_BEGAN" not in os.environ  # no command of the admin's inherits it
