"""`lvg report`: what happened at past shutdowns, for people and for programs."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lvg.render import last_shutdown_line
from lvg.shutdowns import Past
from lvg.stopvm import history
from shutdowns import entry, record, write

Report = Callable[..., Any]
MIXED = [
    entry("web", seconds=3.1, restored="started"),
    entry("db", "saved", 244.2, "save", detail="agent: no answer", restored="resumed"),
    entry("win", "destroyed", 250.0, "destroy", restored="failed: no such disk"),
    entry("old", "left", 0.1, "", wanted=True),
    entry("build", "", 0.0, ""),
]


@pytest.fixture
def report(debian: Any) -> Report:
    return lambda *words: debian.run("lvg", "report", *words)


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def rows(text: str) -> dict[str, list[str]]:
    """The words of each guest's line, by the guest's name."""
    lines = [line.removeprefix("! ").split() for line in text.splitlines() if line[:2] in ("! ", "  ")]
    return {words[0]: words[1:] for words in reversed(lines) if words}


def test_each_guest_has_its_verdict_method_time_and_what_came_of_it(debian: Any, report: Report) -> None:
    write(debian.root, 1, record([entry("web", seconds=5.1)]))
    write(debian.root, 2, record(MIXED, exit_code=2))
    done = report()
    seen = rows(done.out)
    assert done.code == 0
    assert done.out.startswith("Shutdown of the host, 2026-11-23 00:14, 4 min 12 s, profile graceful (id 2)\n")
    assert "exit code 2: guests were left" in done.out
    assert seen["web"][:6] == ["clean", "acpi", "3.1", "s", "4.1", "s"]
    assert seen["web"][-1] == "started"
    assert seen["db"][:4] == ["saved", "save", "244", "s"]
    assert seen["db"][-1] == "resumed"
    assert seen["win"][-1] == "failed"
    assert seen["build"][:2] == ["lost", "power"]
    assert "db: agent: no answer" in done.out
    assert "win: not back: no such disk" in done.out


def test_what_the_policy_did_not_want_stands_first_and_is_marked(debian: Any, report: Report) -> None:
    write(debian.root, 1, record(MIXED))
    lines = [line for line in report().out.splitlines() if line[:2] in ("! ", "  ")]
    assert [line[:7].rstrip() for line in lines[:6]] == ["  guest", "! win", "! db", "! build", "  web", "  old"]


def test_bars_are_as_long_as_the_times_they_stand_for(debian: Any, report: Report) -> None:
    write(
        debian.root, 1, record([entry("one", seconds=60.0), entry("two", seconds=120.0), entry("all", seconds=240.0)])
    )
    lines = report().out.splitlines()
    bars = {line.split()[0]: (line.count("█"), line.count("░")) for line in lines if "█" in line}
    assert bars["all"][1] == 0
    assert bars["all"][0] == sum(bars["two"]) == sum(bars["one"])
    assert abs(bars["two"][0] * 2 - bars["all"][0]) <= 1
    assert abs(bars["one"][0] * 4 - bars["all"][0]) <= 2


@pytest.mark.parametrize(
    ("kind", "says"),
    [("shutdown", "Shutdown of the host, 2026"), ("now", "Stop by hand, 2026"), ("cut", "Power cut, noticed 2026")],
)
def test_the_kind_is_said(debian: Any, report: Report, kind: str, says: str) -> None:
    write(debian.root, 1, record([entry("web")], kind=kind))
    assert report().out.startswith(says)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"exit_code": 0}, "exit code 0: all guests ended as the policy wants"),
        ({"exit_code": 1}, "exit code 1: some guests were forced"),
        ({"exit_code": 3}, "exit code 3: libvirt was out of reach"),
        ({"exit_code": None, "ended": ""}, "it was cut short, and never came to an end"),
        ({"exit_code": None, "ended": "", "complaints": ["ended by SIGTERM"]}, "ended by SIGTERM"),
        ({"exit_code": None, "kind": "cut"}, "these guests ran when the power went away"),
    ],
)
def test_how_it_ended_is_said(debian: Any, report: Report, more: dict[str, Any], says: str) -> None:
    write(debian.root, 1, record([entry("web")], **more))
    assert says in report().out.splitlines()[1]


def test_what_was_wrong_with_the_policy_is_said(debian: Any, report: Report) -> None:
    write(debian.root, 1, record([entry("web")], ended="", complaints=["budget: too long", "ended by SIGTERM"]))
    text = report().out
    assert "problem: budget: too long" in text
    assert text.count("ended by SIGTERM") == 1


def test_a_clock_that_was_set_back_tells_no_time(debian: Any, report: Report) -> None:
    write(debian.root, 1, record([], started="2026-11-22T23:14:05Z", ended="2026-11-22T22:00:00Z"))
    assert report().out.startswith("Shutdown of the host, 2026-11-23 00:14, profile graceful")


def test_guests_of_an_earlier_stop_are_named_with_what_came_of_them(debian: Any, report: Report) -> None:
    carried = [entry("lab", restored="resumed"), entry("test")]
    write(debian.root, 1, record([], carried=carried))
    assert "no guest ran" in report().out
    assert "stopped earlier: lab (resumed), test (still to come back)" in report().out


def test_the_newest_is_shown_or_as_many_as_asked(debian: Any, report: Report) -> None:
    for number in (1, 2, 3):
        write(debian.root, number, record([entry("web")]))
    assert [word in report().out for word in ("(id 3)", "(id 2)", "(id 1)")] == [True, False, False]
    two = report("--last", "2").out
    assert "(id 1)" not in two
    assert two.index("(id 3)") < two.index("(id 2)")
    assert report("--last", "99").out.count("(id ") == 3


@pytest.mark.parametrize("name", ["2", "00000002", "00000002-x", "00000002-x.json"])
def test_one_is_named_by_its_number_or_file(debian: Any, report: Report, name: str) -> None:
    for number in (1, 2, 3):
        write(debian.root, number, record([entry(f"web{number}")]))
    assert {"web1", "web2", "web3"} & set(rows(report("--id", name).out)) == {"web2"}
    assert [each["id"] for each in json.loads(report("--id", name, "--json").out)["shutdowns"]] == ["2"]


@pytest.mark.parametrize("name", ["4", "x", "-x", "0"])
def test_an_unknown_id_is_answered_with_what_there_is(debian: Any, report: Report, name: str) -> None:
    write(debian.root, 1, record([]))
    write(debian.root, 12, record([]))
    done = report(f"--id={name}")
    assert done.code == 2
    assert "There are: 12, 1." in done.err


@pytest.mark.parametrize("number", ["0", "-1"])
def test_less_than_one_shutdown_cannot_be_shown(debian: Any, report: Report, number: str) -> None:
    assert report(f"--last={number}").code == 2


def test_no_history_is_said_and_no_failure(report: Report) -> None:
    done = report()
    assert (done.code, done.err) == (0, "")
    assert "no shutdown is recorded yet" in done.out
    document = json.loads(report("--json").out)
    assert document["shutdowns"] == []
    assert document["schema"] == 1


def test_programs_get_everything(debian: Any, report: Report) -> None:
    write(debian.root, 1, record(MIXED, exit_code=2, carried=[entry("lab")]))
    (found,) = json.loads(report("--json").out)["shutdowns"]
    assert {key: found[key] for key in ("id", "file", "kind", "started", "seconds", "exit_code", "profile")} == {
        "id": "1",
        "file": "00000001-x.json",
        "kind": "shutdown",
        "started": "2026-11-22T23:14:05Z",
        "seconds": 252.0,
        "exit_code": 2,
        "profile": "graceful",
    }
    assert [(guest["name"], guest["verdict"], guest["lost"]) for guest in found["guests"]] == [
        ("web", "clean", False),
        ("db", "saved", False),
        ("win", "destroyed", False),
        ("old", "left", False),
        ("build", "", True),
    ]
    assert [guest["name"] for guest in found["carried"]] == ["lab"]


def test_a_record_that_cannot_be_read_is_said_and_the_others_are_shown(debian: Any, report: Report) -> None:
    write(debian.root, 1, record([entry("web")]))
    write(debian.root, 2, "{")
    done = report()
    assert (done.code, "(id 1)" in done.out) == (0, True)
    assert "warning: /var/lib/lvg/history/00000002-x.json cannot be used" in done.err


# -- trend ---------------------------------------------------------------------------------------------------------


def slow(debian: Any, report: Report, *guests: dict[str, Any], timeout: int = 240) -> list[dict[str, Any]]:
    debian.install("--profile", "graceful", "--set", f"timeout={timeout}")
    for number, guest in enumerate(guests):
        write(debian.root, number, record([guest]))
    return json.loads(report("--json").out)["slow"]


def test_a_guest_near_its_timeout_is_warned_about(debian: Any, report: Report) -> None:
    (found,) = slow(debian, report, *[entry("db", seconds=50.0)] * 3, timeout=60)
    assert (found["guest"], found["usual_s"], found["timeout_s"]) == ("db", 50.0, 60)
    assert found["message"] == "usually takes 50 s of its 60 s"
    assert 'match = "db", timeout = 120' in found["remedy"]
    text = report().out
    assert "slow: db usually takes 50 s of its 60 s" in text


def test_a_guest_that_grows_is_warned_about_early(debian: Any, report: Report) -> None:
    times = (20, 22, 21, 70, 80, 75)
    (found,) = slow(debian, report, *(entry("db", seconds=float(seconds)) for seconds in times))
    assert found["message"].startswith("takes longer than before: 75 s of its 240 s, once it was 21 s")


def test_a_guest_that_had_to_be_forced_is_warned_about(debian: Any, report: Report) -> None:
    (found,) = slow(debian, report, entry("db", seconds=30.0), entry("db", "saved", 244.0, "save"))
    assert found["message"] == "did not end within its 240 s at 1 of its last 2 stops"
    assert "timeout = 480" in found["remedy"]


def test_a_power_cut_since_then_makes_no_guest_quicker(debian: Any, report: Report) -> None:
    cut = entry("db", "lost", 0.0, "", detail="lost power")
    (found,) = slow(debian, report, entry("db", "saved", 244.0, "save"), cut, entry("db", "", 0.0, ""))
    assert found["message"] == "did not end within its 240 s at its last stop"


def test_a_guest_that_never_ended_clean_may_be_deaf(debian: Any, report: Report) -> None:
    (found,) = slow(debian, report, entry("db", "saved", 244.0, "save"))
    assert "lvg doctor" in found["remedy"]


@pytest.mark.parametrize(
    "guests",
    [
        [entry("db", seconds=100.0)] * 4,
        [entry("db", seconds=float(seconds)) for seconds in (2, 2, 2, 6, 6, 6)],  # far from its timeout
        [entry("db", seconds=float(seconds)) for seconds in (200, 70, 72, 71, 70, 72)],
        [entry("db", "saved", 244.0, "save"), entry("db", seconds=30.0)],  # that was once
        [entry("db", "saved", 244.0, "save", wanted=True)],
        [entry("db", "left", 0.0, "", detail="libvirt is out of reach")],
        [entry("db", "lost", 0.0, "", detail="lost power")],
    ],
    ids=["steady", "quick", "once", "mended", "wanted", "left", "lost"],
)
def test_a_guest_that_has_its_time_is_not_warned_about(debian: Any, report: Report, guests: list[Any]) -> None:
    assert slow(debian, report, *guests) == []
    assert "slow:" not in report().out


# -- the picture in a file -------------------------------------------------------------------------------------------


def test_the_picture_needs_nothing_from_the_web(debian: Any, report: Report, tmp_path: Path) -> None:
    write(debian.root, 1, record(MIXED))
    path = tmp_path / "report.svg"
    old = os.umask(0o022)
    try:
        assert report("--svg", str(path)).code == 0
    finally:
        os.umask(old)
    text = path.read_text()
    assert text.count("http") == text.count('xmlns="http://www.w3.org/2000/svg"') == 1
    assert "@import" not in text
    assert {"build", "destroyed", "244"} <= set(words_of(text).replace("\xa0", " ").split())
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def words_of(svg: str) -> str:
    return " ".join(ElementTree.fromstring(svg).itertext())


def test_a_picture_is_replaced_as_a_whole_and_through_links(debian: Any, report: Report, tmp_path: Path) -> None:
    write(debian.root, 1, record(MIXED))
    real, link = tmp_path / "real.svg", tmp_path / "link.svg"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to("real.svg")
    assert report("--svg", str(link)).code == 0
    assert link.is_symlink()
    assert real.read_text().startswith("<svg")
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".lvg")]


def test_what_is_no_file_is_written_to_and_stays_what_it_is(debian: Any, report: Report, tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert report("--svg", str(pipe)).code == 0
    reader.join(10)
    assert read[0].startswith("<svg")
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["", "missing/report.svg"])
def test_a_picture_that_cannot_be_written_is_an_error(debian: Any, report: Report, tmp_path: Path, name: str) -> None:
    done = report("--svg", f"{tmp_path}/{name}")
    assert done.code == 1
    assert "cannot be written" in done.err


# -- names that somebody else chose ------------------------------------------------------------------------------------

HOSTILE = [
    "a\nb",
    "\x1b[31mred\x1b[0m",
    "日本語サーバー" * 4,
    "😀" * 20,
    "x" * 65536,
    "\ud800\u202e",
    "[bold]m[/]",
    "</text>",
    "",
]


def test_no_name_breaks_the_picture(debian: Any, report: Report, tmp_path: Path) -> None:
    guests = [entry(name, "saved", detail=name, restored=f"failed: {name}") for name in HOSTILE]
    path = tmp_path / "report.svg"
    write(debian.root, 1, record(guests, kind="\x1b[2J", profile="\r\n" * 50, started="\x1b" * 9, complaints=HOSTILE))
    done = report("--svg", str(path))
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\r" not in done.out
    assert "[bold]m[/]" in done.out
    assert "\\x1b[31mred" in done.out
    assert len(done.out) < 20_000
    assert "</text>" in words_of(path.read_text())


def test_a_plain_locale_gets_plain_characters(debian: Any, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    write(debian.root, 1, record([entry(name) for name in HOSTILE]))
    text = report().out
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


# -- lvg status --------------------------------------------------------------------------------------------------------


def test_status_begins_with_the_last_shutdown(debian: Any) -> None:
    debian.install("--profile", "graceful")
    guests = [*(entry(f"web{number}") for number in range(5)), entry("db", "saved"), entry("nas", "")]
    write(debian.root, 1, record(guests))
    first = debian.run("lvg", "status").out.splitlines()[0]
    assert first == "last shutdown: 2026-11-23 00:14, 5 clean, 1 saved, 1 lost power"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (None, "none recorded yet"),
        (record([]), "2026-11-23 00:14, no guest ran"),
        (record([entry("a", "lost", detail="lost power")], kind="cut"), "2026-11-23 00:14, a power cut, 1 lost power"),
        (record([entry("a", "lost", detail="its process ended")]), "2026-11-23 00:14, 1 lost"),
        (record([entry("a", "left", wanted=True)]), "2026-11-23 00:14, 1 left to libvirt-guests"),
        (record([entry("a", "left")]), "2026-11-23 00:14, 1 left"),
        (record([entry("a")], started="once\nupon"), "once\\nupon, 1 clean"),
        (record([entry("a")], started=""), "at an unknown time, 1 clean"),
        (record([entry("a")], started="9999-12-31T23:59:59Z"), "9999-12-31T23:59:59Z, 1 clean"),
    ],
)
def test_the_line_says_what_the_record_says(data: dict[str, Any] | None, line: str) -> None:
    found = Past("00000001-x.json", history.record(data)) if data else None
    assert last_shutdown_line(found, "") == f"last shutdown: {line}"
