"""`stopvm restore --now --only`: exactly the named guests come back, and nothing is forgotten of the others."""

import io
import json
from types import SimpleNamespace

import pytest

from lvg.stopvm import history, policy, work
from lvg.stopvm.__main__ import run
from lvg.stopvm.history import Entry, History, Record
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report

BOOT = "this boot"


@pytest.fixture
def store(tmp_path):
    return History(tmp_path)


def write(store, guests, carried=(), **rest):
    def entry(name):
        return Entry("fake:///", f"uuid-{name}", name, verdict="clean")

    path = store.new()
    found = Record("now", BOOT, guests=[entry(name) for name in guests], carried=[entry(name) for name in carried])
    store.write(path, {**found.as_json(), **rest})
    return path


@pytest.fixture
def restored(tmp_path, fake, act, monkeypatch):
    """Return a function that brings some guests back: exit code, who is up, what is said, and the newest record."""

    def restored(*only, by_hand=True, known="abcd", boot="restore"):
        session = fake({name: act() for name in known})
        session.up = set()
        monkeypatch.setattr(work, "sessions", lambda *_: [session])
        monkeypatch.setattr(history, "boot_id", lambda: BOOT)
        said = io.StringIO()
        options = SimpleNamespace(now=by_hand, only=list(only), state=tmp_path, policy=tmp_path / "policy.json")
        rules = policy.compile_policy({"boot": boot})
        code = work._restore(rules, options, Report(said, True), Notifier())
        latest = max((tmp_path / "history").glob("*.json"))
        return code, session.up, said.getvalue(), json.loads(latest.read_text())

    return restored


def back(record):
    return {entry["name"]: entry["restored"] for entry in [*record["guests"], *record["carried"]]}


def test_only_the_named_ones_come_back_and_the_others_stay_pending(store, restored):
    write(store, "ab", carried="cd")
    code, up, _, record = restored("a", "c")
    assert (code, up) == (0, {"a", "c"})
    assert back(record) == {"a": "started", "b": "", "c": "started", "d": ""}
    assert record["restored"] == "", "a boot has still to deal with the others"
    assert [entry.name for entry in store.latest()[1].pending()] == ["b", "d"]
    assert restored("a", "b", "d")[1] == {"b", "d"}, "nobody is started twice"
    assert store.latest()[1].restored


def test_what_a_boot_was_told_to_ignore_stays_ignored(store, restored):
    write(store, "ab", restored="2026-11-23T00:00:00Z")
    code, up, _, record = restored("a")
    assert (code, up, record["restored"]) == (0, {"a"}, "2026-11-23T00:00:00Z")
    assert store.latest()[1].pending() == []


def test_a_transient_guest_that_is_not_meant_is_left_for_later(store, restored):
    path = write(store, "ab")
    record = store.latest()[1]
    record.guests[1].persistent = False
    store.write(path, record.as_json())
    said = restored("a")[2]
    assert "transient" not in said
    assert [entry.name for entry in store.latest()[1].pending()] == ["b"]


def test_a_name_is_no_pattern_once_it_is_escaped(store, restored):
    write(store, ["a[1]", "a1"])
    assert restored("a[[]1]", known=["a[1]", "a1"])[1] == {"a[1]"}


@pytest.mark.parametrize(("only", "up"), [(["x"], set()), (["x", "a"], {"a"})])
def test_a_name_that_no_guest_of_the_record_has_is_an_error(store, restored, only, up):
    write(store, "ab")
    code, came, said, _ = restored(*only)
    assert (code, came) == (2, up)
    assert "<3>--only x matches no guest of the last stop" in said


def test_who_is_back_already_is_no_error(store, restored):
    write(store, "ab")
    restored("a")
    code, up, said, _ = restored("a")
    assert (code, up) == (0, set())
    assert "nothing to bring back" in said
    assert "<3>" not in said


def test_at_boot_nobody_is_left_out(capsys):
    assert run(["restore", "--only", "a"]) == 2
    assert "--only needs --now" in capsys.readouterr().err


def test_a_stop_of_some_that_was_cut_off_is_made_good_by_the_next_boot(store, restored, play, act):
    """A guest was stopped by hand and another one after it, and was not started again: nobody is forgotten."""
    write(store, "a")
    written = play({"b": act()}).record
    assert ([entry["name"] for entry in written["guests"]], back(written)) == (["b"], {"b": "", "a": ""})
    path, record = store.latest()
    record.kind, record.boot_id = "now", "the boot before"
    store.write(path, record.as_json())
    code, up, _, record = restored(by_hand=False)
    assert (code, up) == (0, {"a", "b"})
    assert record["restored"]
