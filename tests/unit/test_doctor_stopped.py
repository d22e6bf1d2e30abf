"""What the last stop left behind, guests that are off or a stop without an end: named when certain, and only then."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doctorhost import facts, guest, ids, with_unit
from lvg import units
from lvg.doctor import Finding, HostFacts, stopped
from lvg.files import Root
from lvg.guests import Answer
from lvg.stopvm import history
from lvg.stopvm.history import Entry
from lvg.stopvm.verdict import MOVED
from shutdowns import entry, record, write

CHECKOUT = Path(__file__).resolve().parents[2]
BOOT = "11111111-2222-3333-4444-555555555555"
DB, WEB = (Entry("default", f"uuid-of-{name}", name, verdict="clean") for name in ("db", "web"))


Look = Callable[..., stopped.Left]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """What is left behind by the records on disk, while these programs run."""
    monkeypatch.setattr(stopped.shutdowns, "this_boot", lambda root: BOOT)

    def read(*records: dict[str, Any], programs: tuple[str, ...] = ("/usr/sbin/libvirtd",)) -> stopped.Left:
        for number, each in enumerate(records, 1):
            write(tmp_path, number, each)
        for number, words in enumerate(programs, 1):
            path = tmp_path / f"proc/{number}/cmdline"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(words.replace(" ", "\0") + "\0")
        return stopped.read(Root(tmp_path), tmp_path / "proc")

    return read


@pytest.fixture
def left(look: Look) -> Callable[..., list[str]]:
    return lambda *records, **more: [each.name for each in look(*records, **more).stopped]


def by_hand(*guests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return record(guests, **{"kind": "now", "boot_id": BOOT, **more})


def test_who_was_stopped_by_hand_and_not_started(left: Callable[..., list[str]]) -> None:
    guests = [entry("db"), entry("web", "saved"), entry("back", restored="started"), entry("left", "left")]
    guests += [entry("passing", persistent=False), entry("moved", method=MOVED), entry("cut off", "")]
    assert left(by_hand(*guests, carried=[entry("earlier")])) == ["db", "web", "earlier"]
    assert left(by_hand(*guests, ended="")) == ["db", "web"], "a stop that was killed left them off, too"


@pytest.mark.parametrize(
    "changes", [{"kind": "shutdown"}, {"kind": "cut"}, {"boot_id": "another"}, {"boot_id": ""}, {"restored": "x"}]
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


# -- a stop that was killed ------------------------------------------------------------------------------------------


def unended(*guests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return by_hand(*guests, ended="", exit_code=None, **more)


def said(left: stopped.Left, found: HostFacts | None = None) -> list[Finding]:
    (check,) = stopped.CHECKS
    return list(check.look(replace(found or facts(), cut_off=left.cut_off)))


@pytest.mark.parametrize("kind", ["now", "shutdown"])
def test_a_stop_without_an_end_is_named_with_its_guests_and_what_to_do(look: Look, kind: str) -> None:
    guests = [entry("db"), entry("web", ""), entry("nas", ""), entry("back", "", restored="running")]
    (finding,) = said(look(unended(*guests, kind=kind)))
    assert (finding.id, finding.severity, finding.guest) == ("A16", "warning", "")
    how = "by hand" if kind == "now" else "in a shutdown"
    assert f"({how}, 2026-11-22T23:14:05Z) never came to its end: stopvm was killed" in finding.message
    assert finding.message.endswith("no verdict on web, nas, which may still go down")
    assert "virsh list --all" in finding.remedy
    assert "stopvm restore --now" in finding.remedy
    assert "stopvm stop --now" in finding.remedy
    assert "00000001-x.json" in finding.evidence


def test_what_ended_a_stop_is_told_if_it_is_on_record(look: Look) -> None:
    (finding,) = said(look(unended(entry("db"), complaints=["x", "ended by SIGTERM"])))
    assert "never came to its end: ended by SIGTERM; each guest has its verdict" in finding.message


@pytest.mark.parametrize(
    "changes",
    [
        {"ended": "2026-11-22T23:18:17Z", "exit_code": 2},  # with guests that were left
        {"boot_id": "another"},  # the boot since then has dealt with it
        {"boot_id": ""},
        {"restored": "2026-11-22T23:20:00Z"},  # so has the admin
        {"kind": "cut"},
    ],
)
def test_any_other_stop_came_to_its_end(look: Look, changes: dict[str, Any]) -> None:
    assert said(look({**unended(entry("db", "")), **changes})) == []


def test_what_was_done_about_it_ends_the_warning(look: Look) -> None:
    killed = unended(entry("db", ""))
    assert said(look(killed, by_hand(entry("db")))) == []
    assert said(look(killed, by_hand(entry("db")), killed)) != []


@pytest.mark.parametrize(
    "words", ["/usr/bin/python3 -I /usr/local/bin/stopvm stop --now", "python3 -I /usr/bin/stopvm stop"]
)
def test_a_stop_that_goes_on_has_no_end_yet(look: Look, words: str) -> None:
    assert look(unended(entry("db", "")), programs=(words,)) == stopped.Left()


def test_nor_has_one_whose_unit_systemd_still_stops(look: Look) -> None:
    left = look(unended(entry("db", "")))
    stopping = with_unit(facts(), units.SHUTDOWN, ActiveState="deactivating")
    assert said(left, stopping) == []
    assert said(left, with_unit(facts(), units.SHUTDOWN, ActiveState="failed")) != []


def test_nor_one_that_ends_while_the_doctor_looks(look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(proc: Path) -> bool:
        write(tmp_path, 1, by_hand(entry("db")))
        return False

    monkeypatch.setattr(stopped, "_at_work", ends)
    assert look(unended(entry("db", ""))).cut_off is None


def test_a_real_stop_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt")
    monkeypatch.setattr(stopped.shutdowns, "this_boot", lambda root: history.boot_id())
    rules, proc = tmp_path / "policy.json", tmp_path / "proc/1/cmdline"
    hook = {"before_stop_host": [["sh", "-c", "kill -9 $PPID"]]}  # as the kernel does when memory runs out
    rules.write_text(json.dumps({"schema": 1, "uris": ["test:///default"], **hook}))
    rules.chmod(0o600)
    command = [str(CHECKOUT / "bin/stopvm"), "stop", "--now", "--policy", str(rules)]
    command += ["--state", str(tmp_path / "var/lib/lvg")]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (finding,) = said(stopped.read(Root(tmp_path), tmp_path / "proc"))
    assert "no verdict on test, which may still go down" in finding.message
    proc.parent.mkdir(parents=True)
    proc.write_text("\0".join(command))
    assert said(stopped.read(Root(tmp_path), tmp_path / "proc")) == []
