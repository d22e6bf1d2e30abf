"""Bringing guests back: who, in what order, how often, and what is carried over."""

import asyncio
import io
import json

import pytest

from lvg.stopvm import policy, restore
from lvg.stopvm.history import Entry, History, Record
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report


@pytest.fixture
def store(tmp_path):
    return History(tmp_path)


def record(store, *entries, **rest):
    path = store.new()
    guests = [Entry("fake:///", f"uuid-{name}", name, **{"verdict": "clean", **more}) for name, more in entries]
    found = Record(guests=guests, **rest)
    store.write(path, found.as_json())
    return path


@pytest.fixture
def bring_back(store, act, fake):
    def bring_back(session=None, rules=None, acts="abc", **limits):
        session = session or fake({name: act() for name in acts})
        session.up = set(session.up) if limits.pop("keep_up", False) else set()
        path, latest = store.latest()
        stream = io.StringIO()
        rule = policy.compile_policy({"boot": "restore", **(rules or {})})

        async def run():
            back = restore.Restore(rule, [session], store, path, latest, Report(stream, True), Notifier(), **limits)
            return await asyncio.wait_for(back.run(), 20)

        return asyncio.run(run()), session, stream.getvalue(), json.loads(path.read_text())

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


def test_waits_for_the_agent_but_not_for_ever(store, bring_back):
    record(store, ("a", {}), ("b", {}))
    code, session, said, _ = bring_back(rules={"wait_for": "agent"}, agent_within=0.1)
    assert (code, session.up) == (0, {"a", "b"})
    assert "agent did not come up" in said


def test_goes_on_when_the_agent_is_up(store, bring_back, fake, act, monkeypatch):
    start = fake.start

    async def start_with_agent(self, guest, paused, bypass_cache):
        asyncio.get_running_loop().call_later(0.01, self.events.guest, self.uri, guest.uuid, guest.name, "agent")
        return await start(self, guest, paused, bypass_cache)

    monkeypatch.setattr(fake, "start", start_with_agent)
    record(store, ("a", {}), ("b", {}))
    _, session, said, _ = bring_back(rules={"wait_for": "agent"}, agent_within=15)
    assert session.log == [("a", "start"), ("a", "ping"), ("b", "start"), ("b", "ping")]
    assert "did not come up" not in said


def test_libvirt_that_never_comes_leaves_all_for_the_next_time(store, bring_back, fake, act):
    record(store, ("a", {}))
    code, _, said, _ = bring_back(fake({"a": act()}, unreachable="refused"), reach_within=0)
    assert code == 3
    assert "out of reach" in said
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
    assert restore.whether(rules, found, "this", by_hand) == what


def test_a_guest_without_a_verdict_lost_power():
    stream = io.StringIO()
    found = Record(boot_id="before", guests=[Entry("u", "1", "cut"), Entry("u", "2", "fine", verdict="clean")])
    restore.settle(found, "this", Report(stream, True))
    assert [entry.verdict for entry in found.guests] == ["lost", "clean"]
    assert stream.getvalue() == "<3>cut lost power, unless libvirt-guests stopped it: its stop was cut short\n"
    assert [entry.name for entry in found.pending()] == ["cut", "fine"]


def test_moved_and_transient_guests_are_not_started():
    moved, transient = Entry("u", "1", "moved", method="migration"), Entry("u", "2", "transient", persistent=False)
    found = Record(guests=[moved, transient])
    restore.settle(found, "", Report(io.StringIO(), True))
    assert found.pending() == []
