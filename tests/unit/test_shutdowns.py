"""The past stops as stopvm wrote them down: what can be read is, what cannot is complained of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lvg.documents import last_shutdown_document
from lvg.files import Root
from lvg.layout import HISTORY_DIR
from lvg.shutdowns import last_shutdown, past, usual, verdicts
from lvg.stopvm.history import Entry, Record
from shutdowns import entry, record, write

GUESTS = [
    Entry("", "1", "1", verdict="clean"),
    Entry("", "2", "2", verdict=""),
    Entry("", "3", "3", verdict="left"),
    Entry("", "4", "4", verdict="left", wanted=False),
]


@pytest.mark.parametrize(
    ("boot", "ended", "complaints", "this_boot", "without"),
    [
        ("b", "", [], "b", "not yet"),
        ("a", "", [], "b", "lost"),
        ("b", "then", [], "b", "lost"),
        ("b", "", ["ended by SIGTERM"], "b", "lost"),
        ("", "", [], "", "lost"),
    ],
)
def test_a_guest_without_a_verdict_is_lost_unless_the_stop_goes_on(
    boot: str, ended: str, complaints: list[str], this_boot: str, without: str
) -> None:
    found = Record(boot_id=boot, ended=ended, guests=GUESTS, complaints=complaints)
    assert verdicts(found, this_boot) == {"clean": 1, without: 1, "left to libvirt-guests": 1, "left": 1}


def test_a_root_that_does_not_run_has_no_stop_at_work(debian: Any) -> None:
    """Its file says that it is of this boot, and that is a boot of this machine, not of that host."""
    debian.install("--profile", "graceful")
    this_boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    debian.put("/proc/sys/kernel/random/boot_id", this_boot)
    write(debian.root, 1, record([entry("web", verdict="")], boot_id=this_boot, ended=""))
    assert "1 lost power" in debian.run("lvg", "status").out.splitlines()[0]


def test_the_last_shutdown_is_none_by_hand(tmp_path: Path) -> None:
    write(tmp_path, 1, record([entry("web"), entry("db", verdict="lost")], started="2026-11-22T10:00:00Z"))
    write(tmp_path, 2, record([entry("web")], kind="now"))
    found, complaints = last_shutdown(Root(tmp_path))
    assert last_shutdown_document(found, "") == {
        "when": "2026-11-22T10:00:00Z",
        "file": "00000001-x.json",
        "verdicts": {"clean": 1, "lost": 1},
    }
    assert complaints == ()


def test_a_power_cut_is_a_shutdown_too(tmp_path: Path) -> None:
    write(tmp_path, 1, record([entry("web")]))
    write(tmp_path, 2, record([entry("web", verdict="lost")], kind="cut"))
    found, _ = last_shutdown(Root(tmp_path))
    assert found is not None
    assert found.record.kind == "cut"


def test_the_newest_is_first_whatever_the_clock_said(tmp_path: Path) -> None:
    write(tmp_path, 9, record([], started="2026-11-22T10:00:00Z"))
    write(tmp_path, 10, record([], started="1970-01-01T00:00:00Z"))
    pasts, complaints = past(Root(tmp_path))
    assert [each.number for each in pasts] == ["10", "9"]
    assert complaints == ()


def test_no_more_than_stopvm_keeps_is_read(tmp_path: Path) -> None:
    for number in range(1, 61):
        write(tmp_path, number, record([]))
    assert [each.number for each in past(Root(tmp_path))[0]] == [str(number) for number in range(60, 10, -1)]


def broken(**changes: object) -> str:
    return json.dumps({**record([entry("web")]), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\x00\xff",
        '{"schema": 1, "kind": "\ud800"}',
        "[" * 100_000,
        "9" * 5000,
        broken(schema=2),
        broken(guests=None),
        broken(guests={"web": 1}),
        broken(guests=[{"name": "web"}]),
        broken(guests=[entry("web", seconds="1.0")]),
        broken(guests=[entry("web", seconds=True)]),
        broken(guests=[entry("web", seconds=-1)]),
        broken(guests=[entry("web", seconds=float("nan"))]),
        broken(guests=[entry("web", seconds=float("inf"))]),
        broken(guests=[entry("web", seconds=10**400)]),
        broken(guests=[entry("web", verdict=None)]),
        broken(guests=[entry("web", wanted="yes")]),
        broken(carried=[entry("web", restored=7)]),
        broken(started=1763800000),
        broken(exit_code="0"),
        broken(complaints="none"),
        broken(complaints=[1]),
        broken(profile="x" * (5 << 20)),
    ],
    ids=range(25),
)
def test_a_file_that_is_no_record_is_passed_over_and_said(tmp_path: Path, text: str) -> None:
    write(tmp_path, 1, record([entry("web")]))
    write(tmp_path, 2, text)
    pasts, complaints = past(Root(tmp_path))
    assert [each.number for each in pasts] == ["1"]
    assert len(complaints) == 1
    assert "00000002-x.json" in complaints[0]
    assert len(complaints[0]) < 400
    assert last_shutdown(Root(tmp_path)) == (pasts[0], complaints)


def test_what_a_newer_stopvm_adds_is_no_harm(tmp_path: Path) -> None:
    write(tmp_path, 1, {**record([{**entry("web"), "colour": "blue"}]), "weather": "rain"})
    assert [each.record.guests[0].name for each in past(Root(tmp_path))[0]] == ["web"]


def test_neither_a_pipe_nor_a_link_out_of_the_root_is_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text(broken())
    root = tmp_path / "root"
    folder = write(root, 1, record([])).parent
    (folder / "00000002-x.json").symlink_to("../" * 20 + str(outside)[1:])
    os.mkfifo(folder / "00000003-x.json")
    pasts, complaints = past(Root(root))
    assert [each.number for each in pasts] == ["1"]
    assert len(complaints) == 2


def test_no_history_is_no_complaint(tmp_path: Path) -> None:
    assert past(Root(tmp_path)) == ((), ())


def test_a_history_that_is_no_folder_is_said(tmp_path: Path) -> None:
    path = tmp_path / HISTORY_DIR.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_text("")
    pasts, complaints = past(Root(tmp_path))
    assert pasts == ()
    assert len(complaints) == 1


def times(tmp_path: Path, *guests: dict[str, Any], kind: str = "shutdown") -> dict[str, float]:
    """The usual times after stops with these guests, the last one newest."""
    for number, guest in enumerate(guests):
        write(tmp_path, number, record([guest], kind=kind))
    return usual(past(Root(tmp_path))[0])


def test_usual_is_the_median_of_the_last_ten(tmp_path: Path) -> None:
    old = [entry("web", seconds=500.0)] * 9
    assert times(tmp_path, *old, *(entry("web", seconds=float(number)) for number in range(1, 11))) == {"web": 5.5}


@pytest.mark.parametrize("kind", ["shutdown", "now"])
def test_one_clean_stop_is_what_is_usual(tmp_path: Path, kind: str) -> None:
    assert times(tmp_path, entry("web", seconds=3.0), kind=kind) == {"web": 3.0}


@pytest.mark.parametrize(
    "other",
    [
        entry("web", verdict="saved", seconds=90.0),
        entry("web", verdict="destroyed", seconds=90.0),
        entry("web", verdict="", seconds=0.0),
        entry("web", method="migration", seconds=90.0),
        entry("web", seconds=0.0, method="", detail="after its stop was cut short, as libvirt's log says"),
    ],
    ids=["saved", "destroyed", "none", "moved", "untimed"],
)
def test_a_stop_that_says_nothing_about_the_guest_does_not_count(tmp_path: Path, other: dict[str, Any]) -> None:
    assert times(tmp_path, entry("web", seconds=3.0), other) == {"web": 3.0}


def test_a_power_cut_has_no_times(tmp_path: Path) -> None:
    assert times(tmp_path, entry("web", seconds=3.0), kind="cut") == {}
