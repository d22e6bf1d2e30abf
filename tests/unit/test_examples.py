"""The examples in README and the man pages are true: each command is taken, and each picture is what is drawn."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from rich.console import RenderableType

import doctorhost
from lvg import cli, timeline, trend
from lvg.doctor import guestline
from lvg.doctor.run import ends, run, summary
from lvg.doctor.table import CHECKS
from lvg.draw import findings, shutdowns, terminal
from lvg.draw import plan as drawn_plan
from lvg.errors import RefusedError
from lvg.files import Root
from lvg.filestate import file_state
from lvg.guests import Answer, Guest
from lvg.layout import GUEST_LIST
from lvg.outcomes import Memory
from lvg.rehearsal import Outcome, chosen, parts
from lvg.rehearsal.part import foretold, outcome_line
from lvg.rehearsal.watching import Interrupts
from lvg.rehearsal.work import STARTING
from lvg.shutdowns import past, usual
from lvg.stopvm.__main__ import parser
from lvg.stopvm.history import Entry
from lvg.stopvm.policy import compile_policy
from lvg.stopvm.summary import closing_line, opening_lines
from shutdowns import entry, record, write

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "pkg/README.md")]
PAGES += [CHECKOUT / "docs" / name for name in ("ARCHITECTURE.md", "DOCTOR.md")]
PAGES += sorted((CHECKOUT / "docs").glob("*.scd"))
COMMAND = re.compile(r"(?:[#$] )?(?:sudo )?(?:\S*/)?(lvg-install|lvg|stopvm)((?: [\w.=/-]+)+)(?: (?:\|\||&&) .*)?")
LIVE = ("doctor", "plan", "rehearse")  # which only know the host that runs


def fences(text: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)


def commands(texts: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Each command of ours that stands in a line of its own, up to the next one of the shell."""
    for line in [line for text in texts for line in text.splitlines()]:
        if found := COMMAND.fullmatch(line.strip()):
            yield (found[1], *shlex.split(found[2]))


FENCED = sorted({command for page in PAGES for command in commands(fences(page.read_text(encoding="utf-8")))})
INLINE = {
    command
    for page in PAGES
    if page.suffix == ".md"
    for command in commands(re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")))
    if len(command) > 2  # the others only name a verb
}
WITH_ROOT = [each for each in FENCED if each[0] == "lvg-install" or (each[0] == "lvg" and each[1] not in LIVE)]
OF_STOPVM = [each for each in FENCED if each[0] == "stopvm"]


@pytest.mark.parametrize("command", sorted({*FENCED, *INLINE}), ids=shlex.join)
def test_a_command_in_the_pages_is_taken(command: tuple[str, ...]) -> None:
    program, *words = command
    if program == "stopvm":
        assert parser().parse_args(words).verb == words[0]
    elif program == "lvg":
        verb = typer.main.get_command(cli.app).commands[words[0]]  # type: ignore[attr-defined]  # it is a group
        verb.make_context(words[0], words[1:])
    else:
        typer.main.get_command(cli.install_app).make_context(program, words)


def test_there_are_examples() -> None:
    assert {each[:2] for each in WITH_ROOT} > {("lvg", "detect"), ("lvg", "status"), ("lvg", "remove")}
    assert {each[1] for each in OF_STOPVM} == {"stop", "restore", "status"}
    assert len(INLINE) > 5


@pytest.mark.parametrize("command", WITH_ROOT, ids=shlex.join)
def test_a_command_in_the_pages_does_something(debian: Any, command: tuple[str, ...]) -> None:
    program, *words = shlex.split(shlex.join(command).removesuffix(" --root /mnt/image"))
    if program == "lvg":
        debian.install("--profile", "graceful")
        write(debian.root, 1, record([entry("web")]))
    done = debian.install(*words) if program == "lvg-install" else debian.run(program, *words)
    assert (done.code, done.err) == (0, "")
    assert done.out


@pytest.fixture
def stopvm(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """stopvm on a host of libvirt's test driver, with the guests that the pages name."""
    pytest.importorskip("libvirt")
    text = "<domain type='test'><name>{}</name><uuid>{}</uuid><memory>1024</memory><os><type>hvm</type></os></domain>"
    guests = (text.format(name, uuid.uuid5(uuid.NAMESPACE_DNS, name)) for name in ("db", "nas"))
    (tmp_path / "host.xml").write_text(f"<node>{''.join(guests)}</node>")
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"schema": 1, "uris": [f"test://{tmp_path}/host.xml"]}))
    policy.chmod(0o600)
    files = ("--policy", str(policy), "--state", str(tmp_path / "state"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(CHECKOUT / "bin/stopvm"), *words, *files]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.mark.parametrize("command", OF_STOPVM, ids=shlex.join)
def test_a_command_of_stopvm_in_the_pages_does_something(stopvm: Any, command: tuple[str, ...]) -> None:
    if command[1] != "stop":
        stopvm("stop", "--now")
    done = stopvm(*command[1:])
    assert done.returncode == 0, done.stderr
    assert ("nas" in done.stdout + done.stderr) == ("--except" not in command)


# -- what is shown -----------------------------------------------------------------------------------------------------


def shown(heading: str) -> str:
    """The picture below a heading of lvg(8)."""
    text = (CHECKOUT / "docs/lvg.8.scd").read_text(encoding="utf-8")
    return fences(text[text.index(f"\n# {heading}\n") :])[0]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    def draw(pictures: Iterable[RenderableType], width: int = 80, locale: str = "C.UTF-8") -> str:
        monkeypatch.setenv("LC_ALL", locale)
        terminal.show(pictures, width)
        return capsys.readouterr().out

    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()
    yield draw
    monkeypatch.undo()
    time.tzset()


def test_the_plan_that_is_shown(drawn: Callable[..., str]) -> None:
    guests = [{"match": "web*", "needs": ["db"]}, {"match": "deaf", "timeout": 8}]
    net = {"on_shutdown": "shutdown", "shutdown_timeout": 240, "parallel": 100}
    rules = compile_policy(
        {"profile": "office", "timeout": 60, "boot": "restore", "start_delay": 1, "guests": guests, "net": net}
    )
    running = [Guest(name, name, memory=64.0, agent="ok" if name == "web1" else "none") for name in NAMES]
    line = timeline.of(rules, running, {"db": 2.0, "web1": 2.0, "web2": 4.5}, 1800.0)
    pictures = drawn_plan.pictures(rules, line, timeline.boot(rules, running, "ignore"), 900.0, False)
    assert f"# lvg plan --ups 900\n{drawn(pictures, 69, 'C')}" == shown("PLAN")


NAMES = ("deaf", "web2", "web1", "db")


def test_the_diagnosis_that_is_shown(drawn: Callable[..., str]) -> None:
    step = doctorhost.step("db1", timeout=600.0, after=("web1",), deadline=668.0)
    facts = doctorhost.facts(doctorhost.guest("db1"), timeline=doctorhost.timeline(step))
    listed = {**facts.survey.states, GUEST_LIST: file_state(b"default 4df5b49a\n")}
    facts = doctorhost.with_survey(facts, states=listed)
    found, lines = run(facts, CHECKS), [guestline.line(*each) for each in ends(facts)]
    verdict = findings.verdict(found, summary(found, 1, 668.0))
    assert drawn([*findings.findings(found, False), *findings.guest_lines(lines), verdict]) == shown("DOCTOR")


def test_the_report_that_is_shown(drawn: Callable[..., str], tmp_path: Path) -> None:
    said = "agent: Guest agent is not responding: guest agent didn't respond to synchronization within '5' seconds"
    win = entry("win10", "saved", 60.3, "save", detail=said, restored="resumed")
    now = {"web1": 2.4, "web2": 4.4, "db1": 6.4, "nas": 1.3}
    clean = [entry(name, seconds=seconds, restored="started") for name, seconds in now.items()]
    clean[2]["method"] = "agent"
    when = {"started": "2026-11-23T10:41:00Z", "ended": "2026-11-23T10:42:00Z", "exit_code": 1, "profile": "site"}
    write(tmp_path, 1, record([win, *clean], **when))
    pasts = past(Root(tmp_path))[0]
    rules = compile_policy({"timeout": 60, "guests": [{"match": "db1", "timeout": 120}]})
    timeouts = {name: rules.for_guest(name).timeout for name in (*now, "win10")}
    memory = Memory({**usual(pasts), "web2": 4.5, "db1": 6.5}, timeouts)
    assert drawn(shutdowns.pictures(pasts, memory, trend.warnings(pasts, rules))) == shown("REPORT")


def test_the_rehearsal_that_is_shown() -> None:
    guests = (Guest("1", "db1", agent="ok"), Guest("2", "web1"))
    rules = compile_policy({"guests": [{"match": "web*", "needs": ["db1"]}]})
    answers = (Answer("default", guests=guests, defined=("db1", "web1")),)
    with pytest.raises(RefusedError) as refused:
        chosen(["db1"], answers, rules)
    some = parts(chosen(["db1", "web1"], answers, rules), rules)
    ways = {"web1": ("acpi", 1.3, 1.2), "db1": ("agent", 3.4, 0.7)}
    entries = {
        name: Entry("default", name, name, verdict="clean", method=way, seconds=seconds)
        for name, (way, seconds, _) in ways.items()
    }
    outcomes = [Outcome(part, entries[part.guest.name], up=True, back=ways[part.guest.name][2]) for part in some]
    pressed = Interrupts(count=1)
    lines = [
        "# lvg rehearse db1",
        f"lvg rehearse: {refused.value.what}",
        f"  {refused.value.todo}",
        "# lvg rehearse db1 web1",
        *(line for part in some for line in foretold(part)),
        "Stop these 2 guests now? [y/N] y",
        *(f"stopvm: {line}" for line in opening_lines([(guest.facts, rules.base) for guest in guests], 600.0)),
        *pressed.answers([part.guest.name for part in some]),
        *(f"stopvm: {outcome_line(each).partition(',')[0]}" for each in outcomes),
        f"stopvm: {closing_line(list(entries.values()))}",
        STARTING,
        *(f"stopvm: {name}: started" for name in ("db1", "web1")),
        *map(outcome_line, outcomes),
    ]
    assert shown("REHEARSAL").splitlines() == lines
