"""Bringing guests back: who, in what order, how often, and what is carried over."""

import asyncio
import io
import json
from types import SimpleNamespace

import clock
import pytest

from lvg.stopvm import lastboot, links, policy, restore, settle, stale, work
from lvg.stopvm.history import Entry, History, Record
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report
from lvg.stopvm.session import LibvirtError, NoAgentError


@pytest.fixture
def store(tmp_path):
    return History(tmp_path)


def record(store, *entries, **rest):
    path = store.new()
    usual = {"uri": "fake:///", "verdict": "clean"}
    guests = [Entry(uuid=f"uuid-{name}", name=name, **{**usual, **more}) for name, more in entries]
    found = Record(guests=guests, **rest)
    store.write(path, found.as_json())
    return path


@pytest.fixture
def bring_back(store, act, fake):
    def bring_back(session=None, rules=None, acts="abc", also=(), **limits):
        session = session or fake({name: act() for name in acts})
        session.up = set(session.up) if limits.pop("keep_up", False) else set()
        path, latest = store.latest()
        stream = io.StringIO()
        rule = policy.compile_policy({"boot": "restore", **(rules or {})})

        async def run():
            back = restore.Restore(
                rule, [session, *also], store, path, latest, Report(stream, True), Notifier(), **limits
            )
            return await asyncio.wait_for(back.run(), 20)

        return clock.run(run()), session, stream.getvalue(), json.loads(path.read_text())

    return bring_back


def test_exactly_those_that_ran_come_back(store, bring_back):
    record(store, ("a", {}), ("b", {"verdict": "saved"}))
    code, session, _, written = bring_back()
    assert (code, session.up) == (0, {"a", "b"})
    assert [entry["restored"] for entry in written["guests"]] == ["started", "started"]
    assert written["restored"]
    assert store.latest()[1].pending() == []


def test_a_paused_guest_is_paused_again(store, bring_back):
    record(store, ("a", {"state": "paused"}))
    assert bring_back()[1].log == [("a", "start paused")]


def test_a_guest_that_was_saved_after_a_crash_is_said_to_be_paused(store, bring_back, fake, act, monkeypatch):
    async def resume(self, guest, paused, bypass_cache):
        return "resumed"

    session = fake({"a": act()})
    monkeypatch.setattr(type(session), "start", resume)
    record(store, ("a", {"state": "crashed", "verdict": "saved"}))
    assert "a: resumed, paused, since it had crashed" in bring_back(session)[2]


def test_a_guest_that_runs_already_is_fine(store, bring_back, fake, act):
    record(store, ("a", {}))
    code, _, said, written = bring_back(fake({"a": act()}), keep_up=True)
    assert (code, written["guests"][0]["restored"]) == (0, "running")
    assert "<3>" not in said


def test_one_that_fails_is_reported_and_passed_over(store, bring_back):
    record(store, ("gone", {"verdict": "saved"}), ("b", {}))
    code, session, said, written = bring_back()
    assert (code, session.up) == (1, {"b"})
    assert "<3>gone is not back: Domain not found" in said
    assert "managedsave-remove" in said
    assert written["guests"][0]["restored"].startswith("failed")
    assert store.latest()[1].pending() == []


def test_those_that_others_need_come_first(store, bring_back):
    record(store, ("a", {}), ("b", {}), ("c", {}))
    rules = {"guests": [{"match": "a", "needs": ["b"]}, {"match": "b", "needs": ["c"]}]}
    assert [name for name, _ in bring_back(rules=rules)[1].log] == ["c", "b", "a"]


def agent_of(fake, monkeypatch, ping, starting=None):
    """Give the fake guests a start and a guest agent of their own: `ping` is called with the session and the guest."""
    start = fake.start

    async def start_and_more(self, guest, paused, bypass_cache):
        came = await start(self, guest, paused, bypass_cache)
        await (starting(self, guest) if starting else asyncio.sleep(0))
        return came

    async def pinged(self, guest):
        self.log.append((guest.name, "ping"))
        await ping(self, guest)

    monkeypatch.setattr(fake, "start", start_and_more)
    monkeypatch.setattr(fake, "ping", pinged)


NEEDY = {"guests": [{"match": "a", "needs": ["b"]}, {"match": "b", "wait_for": "agent"}]}


def test_who_needs_others_waits_for_their_agent_and_nobody_else_does(store, bring_back, fake, monkeypatch):
    async def ping(session, guest):
        if session.log.count((guest.name, "ping")) == 1:
            asyncio.get_running_loop().call_later(0.1, session.events.guest, session.uri, guest.uuid, "b", "agent")
            raise LibvirtError("QEMU guest agent is not connected")

    agent_of(fake, monkeypatch, ping)
    record(store, ("a", {}), ("b", {}), ("c", {}))
    code, session, said, _ = bring_back(rules=NEEDY)
    assert [step for step in session.log if step[1] == "start"] == [("b", "start"), ("c", "start"), ("a", "start")]
    assert session.log.index(("a", "start")) > session.log.index(("b", "ping")) + 1, "after the second ping"
    assert (code, "did not come up" in said) == (0, False)


def test_waits_for_the_agent_but_not_for_ever(store, bring_back, fake, monkeypatch):
    async def ping(session, guest):
        raise LibvirtError("QEMU guest agent is not connected")

    agent_of(fake, monkeypatch, ping)
    record(store, ("a", {}), ("b", {}))
    code, session, said, _ = bring_back(rules=NEEDY, agent_within=0.1)
    assert (code, session.up) == (0, {"a", "b"})
    assert "<4>b: its agent did not come up within" in said


def test_does_not_wait_for_an_agent_that_cannot_come(store, bring_back, fake, monkeypatch):
    async def ping(session, guest):
        raise NoAgentError("QEMU guest agent is not configured")

    agent_of(fake, monkeypatch, ping)
    record(store, ("a", {}), ("b", {}))
    code, session, said, _ = bring_back(rules=NEEDY, agent_within=15)
    assert (code, session.up) == (0, {"a", "b"})
    assert "<4>b: wait_for = agent, but it has no channel" in said
    assert "did not come up" not in said


def test_a_guest_that_runs_already_may_still_be_on_its_way_up(store, bring_back, fake, act, monkeypatch):
    async def ping(session, guest):
        if session.log.count((guest.name, "ping")) == 1:
            asyncio.get_running_loop().call_later(0.05, session.events.guest, session.uri, guest.uuid, "b", "agent")
            raise LibvirtError("QEMU guest agent is not connected")

    agent_of(fake, monkeypatch, ping)
    record(store, ("a", {}), ("b", {}))
    session = bring_back(fake({"a": act(), "b": act()}), rules=NEEDY, keep_up=True)[1]
    assert session.log == [("b", "start"), ("b", "ping"), ("b", "ping"), ("a", "start")]


def test_who_needs_one_that_fails_is_started_all_the_same(store, bring_back):
    record(store, ("a", {}), ("gone", {}))
    code, session, _, _ = bring_back(rules={"guests": [{"match": "a", "needs": ["gone"]}]})
    assert (code, session.up) == (1, {"a"})


def test_an_error_that_nobody_thought_of_stops_no_other_guest(store, bring_back, fake, monkeypatch):
    async def starting(session, guest):
        return 1 / (guest.name != "a")

    agent_of(fake, monkeypatch, None, starting)
    record(store, ("a", {}), ("b", {}), ("c", {}))
    code, session, said, _ = bring_back(rules={"guests": [{"match": "b", "needs": ["a"]}]})
    assert (code, session.up) == (1, {"a", "b", "c"})
    assert "<3>a is not back: ZeroDivisionError" in said


def test_a_start_that_hangs_holds_up_no_other_one(store, bring_back, fake, monkeypatch):
    async def starting(session, guest):
        while guest.name == "a" and "b" not in session.up:
            await asyncio.sleep(0.01)

    agent_of(fake, monkeypatch, None, starting)
    record(store, ("a", {}), ("b", {}))
    assert bring_back(turn_within=0.05)[1].up == {"a", "b"}


def test_a_delay_lies_between_two_starts(store, bring_back, fake, monkeypatch):
    times = []

    async def starting(session, guest):
        times.append(asyncio.get_running_loop().time())

    agent_of(fake, monkeypatch, None, starting)
    record(store, ("a", {}), ("b", {}), ("c", {}))
    bring_back(rules={"guests": [{"match": "b", "start_delay": 0.2}]})
    assert times[2] - times[1] >= 0.2 - 1e-6


def test_after_a_guest_that_ran_already_there_is_no_delay(store, bring_back, fake, act):
    record(store, ("a", {}), ("b", {}))
    assert bring_back(fake({"a": act(), "b": act()}), rules={"start_delay": 3600}, keep_up=True)[0] == 0


def test_libvirt_that_is_restarted_meanwhile_costs_no_guest(store, bring_back, fake, act, monkeypatch):
    async def starting(session, guest):
        if session.opened == 1:
            session.up.discard(guest.name)
            session.broken = True
            raise LibvirtError("client socket is closed")

    async def running(session):
        if getattr(session, "broken", False):
            raise LibvirtError("client socket is closed")
        return []

    async def opened(session, events):
        session.opened, session.broken = session.opened + 1, False

    agent_of(fake, monkeypatch, None, starting)
    monkeypatch.setattr(fake, "running", running)
    monkeypatch.setattr(fake, "open", opened)
    record(store, ("a", {}), ("b", {}))
    code, session, said, _ = bring_back()
    assert (code, session.up, session.opened) == (0, {"a", "b"}, 2)
    assert "<3>" not in said


def test_libvirt_that_goes_away_leaves_the_rest_for_the_next_time(store, bring_back, fake, act, monkeypatch):
    async def starting(session, guest):
        if guest.name == "b":
            session.up.discard("b")
            session.unreachable = "gone"
            raise LibvirtError("client socket is closed")

    async def running(session):
        if session.unreachable:
            raise LibvirtError(session.unreachable)
        return []

    agent_of(fake, monkeypatch, None, starting)
    monkeypatch.setattr(fake, "running", running)
    record(store, ("a", {}), ("b", {}))
    code, _, said, written = bring_back(reach_within=0)
    assert (code, written["guests"][0]["restored"], written["restored"]) == (3, "started", "")
    assert [entry.name for entry in store.latest()[1].pending()] == ["b"]
    assert "<3>b is not back" in said


def test_libvirt_that_never_comes_leaves_all_for_the_next_time(store, bring_back, fake, act):
    record(store, ("a", {}))
    code, _, said, _ = bring_back(fake({"a": act()}, unreachable="refused"), reach_within=0)
    assert code == 3
    assert "out of reach" in said
    assert [entry.name for entry in store.latest()[1].pending()] == ["a"]


def test_a_uri_out_of_reach_holds_up_no_other_one(store, bring_back, fake, monkeypatch):
    monkeypatch.setattr(links, "_RETRY_EVERY", 0.05)
    far = fake({}, uri="far:///", unreachable="no route")
    record(store, ("a", {"uri": "far:///"}), ("b", {}))
    code, session, said, _ = bring_back(also=[far], reach_within=3)
    assert (code, session.up) == (3, {"b"})
    assert said.index("b: started") < said.index("<3>libvirt at far:/// is out of reach")
    assert [entry.name for entry in store.latest()[1].pending()] == ["a"]


def test_what_is_not_yet_back_is_carried_into_the_next_record(store, play, act):
    record(store, ("a", {"restored": "started"}), ("b", {}), ("c", {}))
    written = play({"a": act(), "c": act()}).record  # b had not been reached when the host went down again
    assert [entry["name"] for entry in written["guests"]] == ["a", "c"]
    assert [entry["name"] for entry in written["carried"]] == ["b"]
    again = play({"a": act()}).record
    assert {entry["name"] for entry in again["carried"]} == {"b", "c"}


def test_what_a_boot_has_dealt_with_is_not_carried(store, play, act):
    record(store, ("a", {}), ("b", {}), restored="2026-11-23T00:00:00Z")
    assert play({"c": act()}).record["carried"] == []


def test_carried_guests_come_back_too(store, play, bring_back, act):
    record(store, ("b", {}), kind="now")
    play({"a": act()})
    assert bring_back()[1].up == {"a", "b"}


@pytest.mark.parametrize(
    ("boot", "kind", "same_boot", "by_hand", "what"),
    [
        ("restore", "shutdown", False, False, "restore"),
        ("restore", "shutdown", True, False, "restore"),  # soft-reboot keeps the boot id
        ("ignore", "shutdown", False, False, "ignore"),
        ("ignore", "shutdown", False, True, "restore"),
        ("restore", "now", True, False, "keep"),
        ("restore", "now", True, True, "restore"),
        ("restore", "now", False, False, "restore"),
        ("ignore", "now", False, False, "ignore"),
    ],
)
def test_whether(boot, kind, same_boot, by_hand, what):
    rules = policy.compile_policy({"boot": boot})
    found = Record(kind=kind, boot_id="this" if same_boot else "other")
    assert settle.whether(rules, found, "this", by_hand) == what


def test_by_hand_brings_back_what_a_boot_was_told_to_ignore(store, tmp_path, fake, act, monkeypatch):
    session = fake({"a": act()})
    session.up = set()
    monkeypatch.setattr(work, "sessions", lambda *_: [session])
    monkeypatch.setattr(lastboot, "look", lambda *_: None)
    monkeypatch.setattr(stale, "still_starting", lambda: True)
    monkeypatch.setattr(stale, "wait_and_move", lambda _: None)
    record(store, ("a", {}), boot_id="before")
    said = io.StringIO()

    def restored(by_hand):
        options = SimpleNamespace(now=by_hand, only=[], state=tmp_path, policy=tmp_path / "policy.json")
        return work.restore(policy.compile_policy({"boot": "ignore"}), options, Report(said, True), Notifier())

    assert (restored(by_hand=False), session.log) == (0, [])
    assert "the policy says so" in said.getvalue()
    assert (restored(by_hand=True), session.up) == (0, {"a"})
    assert (restored(by_hand=True), len(session.log)) == (0, 1)


def test_a_guest_without_a_verdict_lost_power():
    stream = io.StringIO()
    found = Record(boot_id="before", guests=[Entry("u", "1", "cut"), Entry("u", "2", "fine", verdict="clean")])
    settle.settle(found, "this", Report(stream, True))
    assert [entry.verdict for entry in found.guests] == ["lost", "clean"]
    assert stream.getvalue() == "<3>cut lost power, unless libvirt-guests stopped it: its stop was cut short\n"
    assert [entry.name for entry in found.pending()] == ["cut", "fine"]


@pytest.mark.parametrize(
    ("how", "verdict", "wanted", "pending", "said"),
    [
        ("cut", "lost", False, True, "<3>a lost power: its stop was cut short"),
        ("clean", "clean", True, True, "<4>a: clean after its stop was cut short, as libvirt's log says"),
        ("destroyed", "destroyed", False, True, "<4>a: destroyed after"),
        ("lost", "lost", False, True, "<4>a: lost after"),
        ("moved", "clean", True, False, "<4>a: moved after"),
    ],
)
def test_libvirts_log_may_say_how_a_guest_without_a_verdict_ended(how, verdict, wanted, pending, said):
    stream, found = io.StringIO(), Record(boot_id="before", guests=[Entry("u", "1", "a")])
    settle.settle(found, "this", Report(stream, True), lambda _: how)
    assert (found.guests[0].verdict, found.guests[0].wanted) == (verdict, wanted)
    assert stream.getvalue().startswith(said)
    assert bool(found.pending()) == pending


def test_moved_and_transient_guests_are_not_started():
    moved, transient = Entry("u", "1", "moved", method="migration"), Entry("u", "2", "transient", persistent=False)
    found = Record(guests=[moved, transient])
    settle.settle(found, "", Report(io.StringIO(), True))
    assert found.pending() == []
