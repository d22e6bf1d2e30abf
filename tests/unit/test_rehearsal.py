"""`lvg rehearse`: what it refuses, what it says, and that a guest that was asked is started again, come what may."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest

from lvg.documents.rehearsal import rehearsal_document
from lvg.errors import LvgError, NothingAppliedError, RefusedError, UsageError
from lvg.guests import Answer, Guest
from lvg.record import Record, dump
from lvg.rehearsal import Outcome, chosen, parts, work
from lvg.rehearsal.part import foretold, outcome_line, remedies
from lvg.stopvm.history import Entry
from lvg.stopvm.policy import Policy, compile_policy

NEEDS = {"guests": [{"match": "web*", "needs": ["db"]}, {"match": "front", "needs": ["web1"]}]}


def guest(name: str, **more: Any) -> Guest:
    return Guest(f"uuid-{name}", name, **more)


def host(*guests: Guest, off: tuple[str, ...] = (), **more: Any) -> tuple[Answer, ...]:
    names = tuple(each.name for each in guests)
    return (Answer(**{"uri": "default", "real": "qemu:///system", "guests": guests, "defined": names + off, **more}),)


def rules(**values: Any) -> Policy:
    found = compile_policy(values)
    assert not found.complaints
    return found


def refusal(names: list[str], answers: tuple[Answer, ...], **values: Any) -> LvgError:
    with pytest.raises(LvgError) as raised:
        chosen(names, answers, rules(**values))
    return raised.value


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"persistent": False}, "nobody could start it again"),
        ({"state": "shutdown"}, "on its way down already"),
        ({"state": "crashed"}, "has crashed"),
        ({"state": "paused", "why": "io-error"}, "I/O error"),
        ({"job": "migration out"}, "is busy (migration out)"),
    ],
)
def test_a_guest_that_cannot_be_rehearsed_is_refused(more: dict[str, Any], what: str) -> None:
    error = refusal(["db"], host(guest("web"), guest("db", **more)))
    assert isinstance(error, RefusedError)
    assert what in error.what
    assert error.what.startswith("db ")
    assert error.todo


def test_a_guest_that_the_policy_leaves_to_libvirt_guests_is_refused() -> None:
    error = refusal(["db"], host(guest("db")), guests=[{"match": "d*", "action": "none"}])
    assert (type(error), 'action = "none"' in error.what) == (RefusedError, True)


def test_a_name_that_no_guest_has_is_no_pattern_and_a_near_one_is_offered() -> None:
    error = refusal(["wep1"], host(guest("web1"), guest("db")))
    assert (type(error), 'Did you mean "web1"?' in error.todo) == (UsageError, True)
    assert isinstance(refusal(["web*"], host(guest("web1"))), UsageError)


def test_a_guest_that_is_off_is_refused() -> None:
    error = refusal(["db"], host(guest("web"), off=("db",)))
    assert (type(error), "does not run" in error.what, "virsh start db" in error.todo) == (RefusedError, True, True)


def test_one_libvirt_out_of_reach_is_enough_to_refuse() -> None:
    answers = (*host(guest("db")), Answer("lxc:///", error="no answer"))
    assert refusal(["db"], answers).what == "libvirt at lxc:/// is out of reach: no answer"


def test_a_guest_that_others_need_is_refused_with_the_command_for_all_of_them() -> None:
    answers = host(guest("db"), guest("web1"), guest("front"), guest("apart"))
    error = refusal(["db"], answers, **NEEDS)
    assert (type(error), error.what) == (RefusedError, "web1 runs, and needs db")
    assert error.todo.endswith("lvg rehearse db web1 front")
    assert refusal(["db", "web1"], answers, **NEEDS).what == "front runs, and needs web1"
    found = parts(chosen(["db", "web1", "front"], answers, rules(**NEEDS)), rules(**NEEDS))
    assert [(part.guest.name, part.wave) for part in found] == [("front", 0), ("web1", 1), ("db", 2)]


def test_those_that_are_off_need_nobody() -> None:
    assert [each.name for each in chosen(["db"], host(guest("db"), off=("web1",)), rules(**NEEDS))] == ["db"]


def test_a_guest_whose_need_is_off_is_refused() -> None:
    error = refusal(["web1"], host(guest("web1"), off=("db",)), **NEEDS)
    assert error.what == "web1 needs db, which is off: it might not come up again"
    assert "virsh start db" in error.todo
    assert chosen(["web1"], host(guest("web1")), rules(**NEEDS)), "it needs a guest of another host"
    assert chosen(["web1"], host(guest("web1"), guest("db")), rules(**NEEDS)), "what it needs stays up"


def test_a_name_that_two_guests_have_is_refused() -> None:
    assert len(chosen(["db", "db"], host(guest("db")), rules())) == 1
    others = host(guest("db")) + host(guest("db", uri="lxc:///"), uri="lxc:///", real="lxc:///")
    assert "would stop both" in refusal(["db"], others).what


def told(found: Guest, **values: Any) -> str:
    lines = foretold(parts((found,), rules(**values))[0])
    assert all(len(line) <= 79 for line in lines)
    return " ".join(line.strip() for line in lines)


def test_what_will_happen_is_said_in_plain_words() -> None:
    text = told(guest("db", agent="ok"), timeout=90, resend=7, on_timeout=["save", "destroy"], before_stop=[["sync"]])
    assert "asked to shut down by its guest agent, then by its power button, again every 7 s" in text
    assert "after 90 s, its memory is saved to disk" in text
    assert "if that fails, it is switched off as if its plug were pulled" in text
    assert "what it has not written to its disks is lost" in text
    assert "first, inside it: sync" in text
    assert "guest agent" not in told(guest("db")), "it has none"
    assert "plug" not in told(guest("db")), "the policy destroys nothing"


def test_what_cannot_be_done_with_a_guest_is_not_promised() -> None:
    assert "saved to disk" not in told(guest("db", hostdev=True), on_timeout=["save", "leave"])
    assert "cannot be saved: it has a host device" in told(guest("db", hostdev=True), action="save")
    assert "stays paused" in told(guest("db", state="paused"))
    saved = told(guest("db"), action="save", on_timeout=["destroy"])
    assert "its memory is saved to disk, and it goes on from there if that fails, it is asked to shut down" in saved
    assert "plug" in saved, "it may come to that"
    assert "woken" in told(guest("db", state="pmsuspended"))


def outcome(up: bool | None = True, back: float | None = 3.14, **entry: Any) -> Outcome:
    part = parts((guest("db"),), rules(timeout=240))[0]
    found = Entry("default", "uuid-db", "db", **{"verdict": "clean", "seconds": 12.3, "method": "agent", **entry})
    return Outcome(part, found, up, back)


def test_the_last_line_says_how_long_it_took() -> None:
    line = "db: clean after 12.3 s (agent), back after 3.1 s; its timeout is 240 s"
    assert (outcome_line(outcome()), outcome().good, remedies(outcome())) == (line, True, [])
    saved = outcome(verdict="saved", method="save")
    assert (outcome_line(saved).split(";")[0], saved.good) == ("db: saved after 12.3 s, back after 3.1 s", True)


@pytest.mark.parametrize(
    ("bad", "says", "remedy"),
    [
        (outcome(verdict="destroyed", wanted=False), "destroyed after 12.3 s: it did not end by itself", ""),
        (outcome(verdict="saved", wanted=False), "saved after 12.3 s: it did not end by itself", ""),
        (outcome(verdict="lost", wanted=False), "no sign that it shut down", ""),
        (outcome(verdict="left", wanted=False, detail="deaf"), "did NOT end (deaf), it runs", "may still do so"),
        (outcome(up=False, back=None), "NOT back", "virsh start db"),
        (outcome(up=None, back=None), "cannot be told", "virsh start db"),
        (outcome(verdict=""), "nobody knows how it ended", "may still do so"),
        (replace(outcome(), entry=None), "nobody knows how it ended", "may still do so"),
    ],
)
def test_a_bad_end_is_said_with_what_to_do(bad: Outcome, says: str, remedy: str) -> None:
    assert says in outcome_line(bad)
    assert not bad.good
    assert remedy in " ".join(remedies(bad))
    assert bool(remedy) == bool(remedies(bad))


# -- the whole command, with a stopvm that only pretends ----------------------------------------------------------

STOPVM = """\
#!{python} -I
import json, pathlib, signal, sys, time
state = pathlib.Path({root!r})
def note(text):
    with (state / "asked").open("a") as file:
        file.write(text + "\\n")
verb, args = sys.argv[1], sys.argv[2:]
if args == ["--help"]:
    print("usage: stopvm restore [--now] {only}")
    sys.exit()
signal.signal(signal.SIGINT, lambda *_: note("interrupted"))
note(" ".join([verb, *args]))
say = lambda text: print(f"stopvm: {{text}}", file=sys.stderr, flush=True)
if verb == "stop":
    say("asking db")
    (state / "db-is-up").unlink()
    for _ in range(3000):
        if not {waits} or (state / "go-on").exists():
            break
        time.sleep(0.02)
    entry = dict(uri="default", uuid="uuid-db", name="db", method="acpi", seconds=1.5)
    entry |= dict(verdict={verdict!r}, wanted={wanted})
    folder = state / "var/lib/lvg/history"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dict(schema=1, kind="now", started="s", ended="e", guests=[entry]))
    (folder / "00000001-x.json").write_text(text)
    say("db: {verdict} after 1.5 s")
elif {comes_back}:
    (state / "db-is-up").touch()
    say("db: started")
note(verb + " done")
sys.exit({code})
"""
PROGRAM = """\
import sys
from pathlib import Path
from lvg import commands
from lvg.commands.rehearse import Rehearsal
from lvg.files import Root
from lvg.guests import Answer, Guest
state = Path({root!r})
def look(uris, seconds):
    up = (Guest("uuid-db", "db"),) if (state / "db-is-up").exists() else ()
    return (Answer("default", guests=up, defined=("db",)),)
rehearsal = Rehearsal(Root(state), look, lambda: (state / "goes-down").exists())
yes, as_json = "--yes" in sys.argv, "--json" in sys.argv
sys.exit(commands.speaking("lvg rehearse", False, lambda: rehearsal.run(["db"], yes, as_json)))
"""
PROGRAM_PATH = "/usr/local/bin/stopvm"
FLAGS = ("protect", "enable", "start", "live")
WORDS = tuple(
    item.name for item in fields(Record) if item.default_factory is MISSING and item.name not in {*FLAGS, "command"}
)
Make = Callable[..., list[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that puts a host together, with one guest, and returns the command that rehearses it."""

    def make(**more: Any) -> list[str]:
        usual = {
            "verdict": "clean",
            "wanted": True,
            "comes_back": True,
            "code": 0,
            "only": "[--only GLOB]",
            "waits": False,
        }
        values = {"python": sys.executable, "root": str(tmp_path), **usual, **more}
        program = tmp_path / PROGRAM_PATH.lstrip("/")
        for folder in (program.parent, tmp_path / "var/lib/lvg", tmp_path / "etc/lvg"):
            folder.mkdir(parents=True)
        program.write_text(STOPVM.format(**values))
        program.chmod(0o755)
        record = Record(**dict.fromkeys(WORDS, ""), command=(), **dict.fromkeys(FLAGS, True))
        (tmp_path / "var/lib/lvg/applied.json").write_bytes(dump(replace(record, program=PROGRAM_PATH)))
        (tmp_path / "etc/lvg/policy.json").write_text(json.dumps({"schema": 1, "timeout": 20}))
        (tmp_path / "db-is-up").touch()
        return [sys.executable, "-c", PROGRAM.format(root=str(tmp_path))]

    return make


def environment() -> dict[str, str]:
    installer = str(Path(__file__).parents[2] / "installer")
    return {**os.environ, "PYTHONPATH": installer, "TERM": "xterm", "LC_ALL": "C.UTF-8", "COLUMNS": "100"}


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), check=False, timeout=60
    )


def asked(folder: Path) -> list[str]:
    path = folder / "asked"
    return path.read_text().splitlines() if path.exists() else []


ALL = ["stop --now --only=db", "stop done", "restore --now --only=db", "restore done"]


def test_stops_and_starts_exactly_that_guest(make: Make, tmp_path: Path) -> None:
    done = run([*make(), "--yes"])
    assert done.returncode == 0, done.stderr
    assert asked(tmp_path) == ALL
    assert re.search(r"db: clean after 1\.5 s \(acpi\), back after \d+\.\d s", done.stdout)
    assert "stopvm: db: started" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        ({}, {"good": True, "verdict": "clean", "wanted": True, "up": True, "remedies": []}),
        (
            {"verdict": "destroyed", "wanted": False, "code": 1},
            {"good": False, "verdict": "destroyed", "wanted": False, "up": True, "remedies": []},
        ),
        (
            {"comes_back": False},
            {"good": False, "verdict": "clean", "up": False, "back_s": None,
             "remedies": ["db is not back. Start it: virsh start db"]},
        ),
    ],
)  # fmt: skip
def test_the_answer_as_a_document(make: Make, more: dict[str, Any], answer: dict[str, Any]) -> None:
    done = run([*make(**more), "--yes", "--json"])
    said = json.loads(done.stdout)
    assert (said["schema"], said["good"], done.returncode) == (1, answer["good"], 0 if answer["good"] else 9)
    (found,) = said["guests"]
    assert (found["guest"], found["uri"], found["method"], found["timeout_s"]) == ("db", "default", "acpi", 20)
    assert {key: found[key] for key in answer} == answer
    assert found["seconds"] == 1.5
    assert (found["back_s"] is None) == (not found["up"])
    assert "asked to shut down by its power button" in done.stderr, "what is said to people goes elsewhere"
    assert "stopvm: asking db" in done.stderr


def test_a_document_that_nobody_knows_what_to_put_into() -> None:
    (unknown,) = rehearsal_document([replace(outcome(up=None, back=None), entry=None)])["guests"]
    assert (unknown["verdict"], unknown["seconds"], unknown["up"], unknown["good"]) == ("", None, None, False)
    assert unknown["remedies"]


def test_there_is_no_document_where_nothing_was_done(make: Make, tmp_path: Path) -> None:
    command = [*make(), "--json"]
    (tmp_path / "goes-down").touch()
    refused = run([*command, "--yes"])
    assert (refused.returncode, refused.stdout, asked(tmp_path)) == (4, "", [])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"verdict": "destroyed", "wanted": False, "code": 1}, "db: destroyed after 1.5 s: it did not end by itself"),
        ({"comes_back": False}, "virsh start db"),
    ],
)
def test_a_bad_end_is_exit_code_9(make: Make, tmp_path: Path, more: dict[str, Any], says: str) -> None:
    done = run([*make(**more), "--yes"])
    assert (done.returncode, says in done.stdout + done.stderr) == (9, True), done.stderr
    assert asked(tmp_path) == ALL


def test_without_a_terminal_it_does_nothing_unasked(make: Make, tmp_path: Path) -> None:
    done = run(make())
    assert (done.returncode, "--yes" in done.stderr, asked(tmp_path)) == (2, True, [])


def test_an_old_stopvm_could_not_start_the_guest_again(make: Make, tmp_path: Path) -> None:
    done = run([*make(only=""), "--yes"])
    assert (done.returncode, "older" in done.stderr, asked(tmp_path)) == (1, True, [])


def test_a_host_that_goes_down_is_left_alone(make: Make, tmp_path: Path) -> None:
    command = make()
    (tmp_path / "goes-down").touch()
    done = run([*command, "--yes"])
    assert (done.returncode, "going down" in done.stderr, asked(tmp_path)) == (4, True, [])


def test_nothing_is_started_on_a_host_that_went_down_meanwhile(make: Make, tmp_path: Path) -> None:
    command = make(waits=True)
    process = subprocess.Popen([*command, "--yes"], stderr=subprocess.PIPE, text=True, env=environment())
    wait_for(lambda: asked(tmp_path))
    (tmp_path / "goes-down").touch()
    (tmp_path / "go-on").touch()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 9
    assert "comes back at the next boot" in said
    assert asked(tmp_path) == ALL[:2]


def test_a_guest_that_ends_late_is_waited_for_before_it_is_started(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_LOOK_EVERY", 0.01)
    make(code=2, verdict="left", wanted=False)
    answers = [frozenset({"db"}), None, frozenset({"db"}), frozenset({"other"})]  # what libvirt says each time
    seen: list[list[str]] = []

    def running() -> frozenset[str] | None:
        seen.append(asked(tmp_path))
        return answers.pop(0)

    work.Work(str(tmp_path / PROGRAM_PATH.lstrip("/")), ["db"], running, lambda: False, 20).run()
    assert seen == [ALL[:2]] * 4
    assert asked(tmp_path) == ALL


def test_a_name_is_no_pattern_for_stopvm(make: Make, tmp_path: Path) -> None:
    make()
    names = ["db*", "--now", "a[1]"]
    work.Work(str(tmp_path / PROGRAM_PATH.lstrip("/")), names, lambda: None, lambda: True, 20).run()
    assert asked(tmp_path)[0] == "stop --now --only=db[*] --only=--now --only=a[[]1]"


def test_nothing_was_applied(make: Make, tmp_path: Path) -> None:
    command = make()
    (tmp_path / "var/lib/lvg/applied.json").unlink()
    done = run([*command, "--yes"])
    assert done.returncode == NothingAppliedError.code
    assert "lvg has applied nothing here\n  Run: lvg-install --profile graceful\n" in done.stderr


def wait_for(predicate: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Terminal:
    """A command on a terminal of its own, on which somebody types."""

    def __init__(self, command: list[str]) -> None:
        self._terminal, inner = pty.openpty()
        signals = ["env", "--default-signal=INT"]  # what runs the tests in the background may have it ignored
        argv = ["setsid", "--ctty", *signals, *command]  # it becomes the command: one process, which leads a session
        self.process = subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner, env=environment())
        os.close(inner)
        self.said = ""

    def read_until(self, text: str) -> None:
        wait_for(lambda: self._read() and text in self.said)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def hang_up(self) -> None:
        os.close(self._terminal)
        self._terminal = -1

    def end(self) -> int:
        """Read to the end. Returns the exit code."""
        wait_for(lambda: self._read() and self.process.poll() is not None)
        self._read()
        return self.process.returncode

    def _read(self) -> bool:
        with suppress(OSError):  # EIO: nobody has the other end any more
            while select.select([self._terminal], [], [], 0.02)[0]:
                self.said += os.read(self._terminal, 65536).decode(errors="replace")
        return True

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self._terminal >= 0:
            self.hang_up()


@pytest.fixture
def terminal() -> Iterator[Callable[[list[str]], Terminal]]:
    opened: list[Terminal] = []

    def start(command: list[str]) -> Terminal:
        opened.append(Terminal(command))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


Start = Callable[[list[str]], Terminal]


@pytest.mark.parametrize(
    ("typed", "says"), [("n\n", "Nothing was done"), ("\n", "Nothing was done"), ("\x03", "Ctrl-C")]
)
def test_anything_but_a_yes_leaves_the_guest_alone(
    make: Make, terminal: Start, tmp_path: Path, typed: str, says: str
) -> None:
    screen = terminal(make())
    screen.read_until("[y/N]")
    assert "asked to shut down by its power button" in screen.said
    screen.type(typed)
    assert (screen.end(), asked(tmp_path)) == (1, [])
    assert says in screen.said
    assert "no guest was asked anything" in screen.said


def test_ctrl_c_during_the_stop_ends_nothing(make: Make, terminal: Start, tmp_path: Path) -> None:
    screen = terminal(make(waits=True))
    screen.read_until("[y/N]")
    screen.type("y\n")
    screen.read_until("asking db")
    screen.type("\x03")
    screen.read_until("then it is started again")
    screen.type("\x03")
    screen.read_until("Still at work")
    screen.read_until("at most 20 s")  # there is a bar
    assert asked(tmp_path) == ALL[:1]
    (tmp_path / "go-on").touch()
    assert screen.end() == 0, screen.said
    assert asked(tmp_path) == ALL
    assert "db: clean after 1.5 s (acpi), back after" in screen.said


@pytest.mark.parametrize("how", ["hangs up", "is killed"])
def test_the_guest_is_started_again_even_if_nobody_waits_for_it(
    make: Make, terminal: Start, tmp_path: Path, how: str
) -> None:
    screen = terminal([*make(waits=True), "--yes"])
    wait_for(lambda: asked(tmp_path))
    if how == "is killed":
        screen.process.kill()
    screen.hang_up()
    (tmp_path / "go-on").touch()
    wait_for(lambda: asked(tmp_path) == ALL)
    assert (tmp_path / "db-is-up").exists()
