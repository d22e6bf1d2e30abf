"""Records survive each other, broken files and wrong clocks."""

import json

import pytest

from lvg.stopvm import history
from lvg.stopvm.history import Entry, History, Record

WRONG = ('"seconds": "1"', '"seconds": NaN', '"seconds": -1', '"seconds": true', '"wanted": 1', '"detail": null')


def test_round_trip(tmp_path):
    store = History(tmp_path)
    found = Record(guests=[Entry("u", "1", "n", verdict="clean")], carried=[Entry("u", "2", "m")], ended="x")
    store.write(store.new(), found.as_json())
    assert store.latest()[1] == found


def test_a_person_can_read_a_record(tmp_path):
    store, path = History(tmp_path), tmp_path / "history/00000001-x.json"
    found = Record(guests=[Entry("u", "1", 'a "\n\ud800'), Entry("u", "2", "b")]).as_json()
    store.write(path, found)
    assert json.loads(path.read_text()) == found
    assert sum(line.startswith("  {") for line in path.read_text().splitlines()) == 2, "a line for each guest"


def test_what_is_written_does_not_change_with_the_record():
    record = Record(guests=[Entry("u", "1", "n")])
    written = record.as_json()
    record.guests[0].verdict = "clean"
    record.complaints.append("later")
    assert written["guests"][0]["verdict"] == ""
    assert written["complaints"] == []


def test_the_newest_by_number_whatever_the_clock_says(tmp_path):
    store = History(tmp_path)
    for name in ("00000002-19700101T000000Z.json", "00000001-20991231T000000Z.json"):
        store.write(tmp_path / "history" / name, Record(profile=name).as_json())
    assert store.latest()[1].profile.startswith("00000002")
    assert store.new().name.startswith("00000003")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '{"schema": 2}', '{"schema": 1, "guests": [1]}', '{"schema": 1, "carried": [{}]}'),
        *('{"schema": 1, "complaints": 5}', '{"schema": 1, "complaints": [5]}', '{"schema": 1, "started": 5}'),
        *('{"schema": 1, "exit_code": "0"}', '{"schema": 1, "exit_code": true}', '{"schema": 1, "guests": 7}'),
        *(f'{{"schema": 1, "guests": [{{"uri": "a", "uuid": "b", "name": "c", {wrong}}}]}}' for wrong in WRONG),
    ],
)
def test_a_broken_record_is_passed_over(tmp_path, text):
    store = History(tmp_path)
    store.write(store.new(), Record(profile="good").as_json())
    store.new().write_text(text)
    assert store.latest()[1].profile == "good"
    assert "passed over" in store.complaints[0]


def test_a_record_that_is_nested_too_deep_is_passed_over(tmp_path):
    test_a_broken_record_is_passed_over(tmp_path, "[" * 99999)


def test_a_key_of_a_later_version_is_no_harm(tmp_path):
    store = History(tmp_path)
    store.write(store.new(), {**Record(profile="p").as_json(), "added": 1})
    assert store.latest()[1].profile == "p"


def test_files_of_others_are_left_alone(tmp_path):
    store = History(tmp_path)
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "notes.json").write_text("x")
    assert store.latest() is None
    assert store.new().name.startswith("00000001")


def test_only_so_many_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "KEEP", 3)
    store = History(tmp_path)
    for number in range(5):
        store.write(store.new(), Record(profile=str(number)).as_json())
    kept = sorted((tmp_path / "history").iterdir())
    assert [json.loads(path.read_text())["profile"] for path in kept] == ["2", "3", "4"]


def test_reading_creates_nothing(tmp_path):
    store = History(tmp_path / "none")
    assert store.latest() is None
    assert not (tmp_path / "none").exists()
