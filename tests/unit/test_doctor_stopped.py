"""Guests that a stop by hand left off: named when that is certain, and only then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doctorhost import facts, guest, ids
from lvg.doctor import stopped
from lvg.files import Root
from lvg.guests import Answer
from lvg.stopvm.history import Entry
from lvg.stopvm.verdict import MOVED
from shutdowns import entry, record, write

BOOT = "11111111-2222-3333-4444-555555555555"
DB, WEB = (Entry("default", f"uuid-of-{name}", name, verdict="clean") for name in ("db", "web"))


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What is left behind by the records on disk, while these programs run."""
    monkeypatch.setattr(stopped.shutdowns, "this_boot", lambda root: BOOT)

    def names(*records: dict[str, Any], programs: tuple[str, ...] = ("/usr/sbin/libvirtd",)) -> list[str]:
        for number, each in enumerate(records, 1):
            write(tmp_path, number, each)
        for number, words in enumerate(programs, 1):
            path = tmp_path / f"proc/{number}/cmdline"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(words.replace(" ", "\0") + "\0")
        return [each.name for each in stopped.read(Root(tmp_path), tmp_path / "proc")]

    return names


def by_hand(*guests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return record(guests, kind="now", boot_id=BOOT, **more)


def test_who_was_stopped_by_hand_and_not_started(left: Callable[..., list[str]]) -> None:
    guests = [entry("db"), entry("web", "saved"), entry("back", restored="started"), entry("left", "left")]
    guests += [entry("passing", persistent=False), entry("moved", method=MOVED), entry("cut off", "")]
    assert left(by_hand(*guests, carried=[entry("earlier")])) == ["db", "web", "earlier"]


@pytest.mark.parametrize(
    "changes",
    [{"kind": "shutdown"}, {"kind": "cut"}, {"boot_id": "another"}, {"boot_id": ""}, {"ended": ""}, {"restored": "x"}],
)
def test_any_other_record_is_no_reason(left: Callable[..., list[str]], changes: dict[str, Any]) -> None:
    assert left({**by_hand(entry("db")), **changes}) == []


def test_only_the_last_record_counts(left: Callable[..., list[str]]) -> None:
    assert left() == []
    assert left(by_hand(entry("db")), by_hand(entry("web", restored="started"))) == []


@pytest.mark.parametrize(
    ("words", "busy"),
    [
        ("/usr/bin/python3 -I /usr/local/bin/stopvm restore --now", True),
        ("/usr/bin/python3 /usr/bin/lvg rehearse db", True),
        ("/usr/bin/python3 /usr/bin/lvg doctor", False),
        ("", False),
    ],
)
def test_while_one_is_at_work_nobody_is_left_behind(left: Callable[..., list[str]], words: str, busy: bool) -> None:
    assert left(by_hand(entry("db")), programs=(words,)) == ([] if busy else ["db"])


def test_one_warning_names_those_that_are_off() -> None:
    found = replace(facts(guest("vm")), stopped=(DB, WEB))
    answer = replace(found.answers[0], defined=("db", "vm", "web"))
    both = replace(found, answers=(answer,))
    assert ids(stopped.they_are_back, both) == [("E17", "warning", "")]
    (finding,) = stopped.they_are_back(both)
    assert finding.message.startswith("db, web were stopped by hand")
    assert finding.remedy == "stopvm restore --now"
    one = replace(both, answers=(replace(answer, guests=(guest("web"),)),))
    assert ids(stopped.they_are_back, one) == [("E17", "warning", "db")]


def test_where_it_is_not_certain_nothing_is_said() -> None:
    found = replace(facts(guest("db")), stopped=(DB,))
    answer = found.answers[0]
    unknown: tuple[tuple[Answer, ...], ...] = (
        (answer,),  # it runs
        (replace(answer, guests=(), defined=()),),  # it is gone
        (replace(answer, guests=(), error="it hangs"),),
        (replace(answer, guests=(), uri="lxc:///"),),
        (),
    )
    for answers in unknown:
        assert list(stopped.they_are_back(replace(found, answers=answers))) == []
