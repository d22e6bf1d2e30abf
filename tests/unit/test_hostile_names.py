"""Guests, profiles, agents and files choose texts of their own: none is run, none moves the cursor or begins a line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import doctorhost
from lvg import documents, timeline
from lvg.commands import doctor as doctor_command
from lvg.commands import plan as plan_command
from lvg.console import out as print_lines
from lvg.console import speaking
from lvg.doctor import Check, Finding
from lvg.doctor.run import ends, run
from lvg.doctor.table import CHECKS
from lvg.errors import LvgError
from lvg.guests import Answer, Guest
from lvg.rehearsal import Outcome, chosen, parts
from lvg.rehearsal.part import foretold, outcome_line, remedies
from lvg.stopvm.history import Entry
from lvg.stopvm.policy import Policy, compile_policy
from shutdowns import entry, record, write

HOSTILE = [
    "$(reboot)",
    "`reboot`",
    "; reboot #",
    "' ; reboot '",
    "../../x",
    "-rf",
    "--all",
    "a\nok   everything is fine",
    "\r\x1b[2K\x1b[1A\x1b]0;owned\x07\x9b31m\x08",
    "\u202egnp.exe\u200b\u2028",
    "😀" * 40,
    "x" * 65536,
    "[red]m[/red]",
    "<script>alert(1)</script>]]>&amp;",
    "\ud800",
    "{0} %s %n",
]
LONGEST = 300_000  # characters of a whole answer about these names


@pytest.fixture(autouse=True)
def _utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def assert_harmless(text: str) -> None:
    """Nothing but plain characters, and no line that a name has begun."""
    strange = {char for char in text if not (char.isprintable() or char in "\n\xa0")}
    assert strange == set()
    assert not re.search(r"^ok   everything", text, re.MULTILINE)


def assert_not_run(command: str) -> None:
    """What is offered to be copied to a shell runs nothing that a name says."""
    bare = re.sub(r"'[^']*'|\"'\"", "", command.partition("  # ")[0])
    assert "reboot" not in bare, command


def quick(names: list[str]) -> list[str]:
    """Without the name that fills a book, for what prints names as they are."""
    return [name for name in names if len(name) < 1000]


def guests() -> list[Guest]:
    return [Guest(f"uuid-{at}", name, agent="ok", memory=100.0) for at, name in enumerate(HOSTILE)]


# -- plan ------------------------------------------------------------------------------------------------------------


def made() -> plan_command.Plan:
    rules = compile_policy({"profile": HOSTILE[8], "boot": "restore", "guests": [{"match": "*", "needs": HOSTILE[:9]}]})
    line = timeline.of(rules, guests(), dict.fromkeys(HOSTILE[:4], 30.0), 1800.0)
    return plan_command.Plan(rules, line, timeline.boot(rules, guests(), "ignore"), 300.0, tuple(HOSTILE))


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("verbose", [False, True])
def test_the_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, locale: str, verbose: bool, tmp_path: Path
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    plan_command.answer(made(), str(tmp_path / "plan.svg"), False, verbose)
    said = capsys.readouterr()
    assert_harmless(said.out)
    assert_harmless(said.err)
    assert len(said.out) < LONGEST
    assert_harmless("".join(ElementTree.parse(tmp_path / "plan.svg").getroot().itertext()))


def test_the_plan_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    plan_command.answer(made(), "", True, False)
    text = capsys.readouterr().out
    assert text.isascii()
    assert_harmless(text)
    found = json.loads(text)
    assert {step["guest"] for wave in found["waves"] for step in wave} == set(HOSTILE)


# -- doctor ----------------------------------------------------------------------------------------------------------


def troubled(name: str) -> list[Guest]:
    """Guests with so much wrong that nearly each check about guests has something to say."""
    return [
        doctorhost.guest(
            name,
            agent="silent",
            persistent=False,
            on_poweroff="restart",
            acpi=False,
            pid=7,
            job="save",
            emulator=f"/opt/{name}",
            emulator_is_gone=True,
            block_jobs=(name,),
            disks=(f"/srv/{name}",),
        ),
        doctorhost.guest(
            f"{name}2",
            agent="off",
            state="paused",
            why="io-error",
            managed_save=True,
            autostart=True,
            hostdev=True,
            cannot_save=("it has a host device",),
            uri=f"qemu:///{name}",
            disks=(f"/srv/{name}",),
        ),
    ]


def diagnosis(name: str) -> doctor_command.Answer:
    facts = doctorhost.facts(*troubled(name))
    lie = Check(
        "T1", "what guests say", lambda _: [Finding("T1", "failure", name, shlex.join(["virsh", name]), name, name)]
    )
    return doctor_command.Answer(run(facts, (*CHECKS, lie)), ends(facts), 10.0)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_the_doctor(capsys: pytest.CaptureFixture[str], name: str) -> None:
    found = diagnosis(name)
    assert sum(name in finding.guest for finding in found.diagnosis.findings) > 5
    for words in ((False, False, True), (False, True, False), (True, False, False)):
        doctor_command.give(found, *words)
        said = capsys.readouterr()
        assert_harmless(said.out)
        assert_harmless(said.err)
        assert "lies" not in said.out
    for finding in found.diagnosis.findings:
        assert_not_run(finding.remedy)
        assert "AttributeError" not in finding.message


# -- rehearse --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", quick(HOSTILE))
def test_the_rehearsal(capsys: pytest.CaptureFixture[str], name: str) -> None:
    guest = Guest("u", name, agent="ok", memory=10.0, uri="lxc:///" + name)
    answers = (Answer("default", "qemu:///system", guests=(guest,), defined=(name,)),)
    (part,) = parts(chosen([name], answers, Policy()), Policy())
    lost = Outcome(part, Entry("default", "u", name, verdict="left", detail=name, method=name), False, None)
    unsure = Outcome(part, None, None, None)
    print_lines([*foretold(part), outcome_line(lost), *remedies(lost), *remedies(unsure)])
    said = capsys.readouterr().out
    assert_harmless(said)
    for line in (*remedies(lost), *remedies(unsure)):
        assert_not_run(line.rpartition("tart it: ")[2] if "tart it: " in line else line.rpartition("not: ")[2])


@pytest.mark.parametrize("name", quick(HOSTILE))
@pytest.mark.parametrize("changes", [{"state": "crashed"}, {"job": "save"}, {"state": "paused", "why": "io-error"}])
def test_a_refusal(capsys: pytest.CaptureFixture[str], name: str, changes: dict[str, Any]) -> None:
    answers = (Answer("default", guests=(Guest("u", name, **changes),), defined=(name,)),)

    def body() -> int:
        return len(chosen([name], answers, Policy()))

    with pytest.raises(LvgError) as raised:
        body()
    assert_not_run(raised.value.todo.partition(": ")[2])
    assert speaking("lvg rehearse", False, body) != 0
    said = capsys.readouterr().err
    assert_harmless(said)
    assert len(said.splitlines()) == 2


# -- report and status -----------------------------------------------------------------------------------------------


@pytest.fixture
def told(debian: Any) -> Iterator[Any]:
    debian.install("--profile", "graceful")
    entries = [entry(name, "lost", method=name, detail=name, restored=name, state=name) for name in HOSTILE]
    for number in (1, 2):
        write(
            debian.root,
            number,
            record(entries, carried=entries, complaints=HOSTILE, profile=HOSTILE[8], ended=HOSTILE[8]),
        )
    write(debian.root, 3, json.dumps(dict.fromkeys(HOSTILE, 1)))
    return debian


@pytest.mark.parametrize(
    "words", [["report"], ["report", "--json"], ["status"], ["status", "--json"], ["report", "--id", "3"]]
)
def test_the_past(told: Any, words: list[str]) -> None:
    done = told.run("lvg", *words)
    assert_harmless(done.out)
    assert_harmless(done.err)
    if "--json" in words:
        assert json.loads(done.out)["schema"] == 1


# -- profiles and what else the admin named --------------------------------------------------------------------------

VALUES = """\
summary = {0}
[stopvm]
before_stop_host = [[{0}]]
[[guest]]
match = {0}
needs = [{1}]
"""


@pytest.mark.parametrize("name", quick(HOSTILE[:-2]))
def test_values_of_a_profile(debian: Any, name: str) -> None:
    text = json.dumps(name, ensure_ascii=False).replace("\x9b", "\\u009B").replace("\x7f", "\\u007F")
    debian.put(
        "/etc/lvg/profiles/site.toml",
        VALUES.format(text, json.dumps(f"{name}2", ensure_ascii=False).replace("\x9b", "\\u009B")),
    )
    for words in (("--dry-run",), ("--dry-run", "--json"), ()):
        done = debian.install("--profile", "site", *words)
        assert_harmless(done.out)
        assert_harmless(done.err)
    for verb in (["profiles"], ["profiles", "site"], ["profiles", "--json"], ["status"]):
        done = debian.run("lvg", *verb)
        assert_harmless(done.out)
        assert_harmless(done.err)
    policy = json.loads((debian.root / "etc/lvg/policy.json").read_text())
    assert policy["guests"][0]["needs"] == [f"{name}2"]
    assert policy["before_stop_host"] == [[name]]


def test_documents_are_ascii() -> None:
    assert documents.dumps({"names": HOSTILE}).isascii()
