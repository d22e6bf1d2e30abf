"""Names, agents, monitors and commands that mean harm: each is bounded in time and size, and no line is theirs."""

import asyncio
import io
import json
import os
import re
from pathlib import Path

import pytest

from lvg.stopvm import agent, agentsocket, hooks, policy, programs, qmp, show
from lvg.stopvm.decide import Facts
from lvg.stopvm.history import History
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report
from lvg.stopvm.session import LibvirtError

HOSTILE = [
    "$(reboot)",
    "../../x",
    "-rf",
    "a\n<0>PANIC",
    "\r\x1b[2K\x1b]0;owned\x07\x9b31m",
    "\u202e\u2028\u200b",
    "😀" * 40,
    "x" * 65536,
    "\ud800",
    "%n{0}",
]
FLOOD = 5000  # lines


# -- lines of the journal, the record, the status --------------------------------------------------------------------


@pytest.mark.parametrize("end", ["clean", "deaf", "fails"])
def test_each_line_of_the_journal_is_one_of_ours(play, act, tmp_path, end):
    acts = {name: {"clean": act(), "deaf": act(presses=0), "fails": act(ask=name)}[end] for name in HOSTILE}
    rules = {"guests": [{"match": "*", "needs": HOSTILE[:2]}], **({"timeout": 0.1} if end != "clean" else {})}
    played = play(acts, rules)
    lines = played.said.removesuffix("\n").split("\n")
    assert all(re.fullmatch(r"<[3-6]>[^<].*", line) and line.isprintable() for line in lines)
    assert not any("PANIC" in line and line.startswith("<0>") for line in lines)
    assert set(played.verdicts) == set(HOSTILE), "the record has the names as they are"
    found = History(tmp_path).latest()
    assert found
    text = show.status(policy.Policy(), found[1], ())
    assert all(line.isprintable() for line in text.removesuffix("\n").split("\n"))
    assert len(text.splitlines()) == 3 + len(HOSTILE)


def test_systemd_is_told_one_line(tmp_path):
    sent = []
    notifier = Notifier("@nobody-listens")
    notifier._send = sent.append
    notifier.status("guest a\nMAINPID=1\nEXTEND_TIMEOUT_USEC=1")
    assert [text.count("\n") for text in sent] == [0]


# -- commands --------------------------------------------------------------------------------------------------------


def heard(output: str) -> list[str]:
    stream = io.StringIO()
    hooks.show(output, ("sync",), Facts("u", "vm"), Report(stream, prefix=False))
    return stream.getvalue().splitlines()


def test_what_a_command_says_is_cut():
    assert len(heard("line\n" * 10_000)) == 100
    assert len(heard("\x1b" * (1 << 20))[0]) < 3000
    assert heard("\x1b[2J\x07")[0].endswith("\\x1b[2J\\x07")


@pytest.mark.parametrize("command", ["yes", "head -c 20000000 /dev/zero; exit 3"])
def test_a_command_that_prints_without_end_is_no_danger_to_the_memory(monkeypatch, command):
    kept = []
    monkeypatch.setattr(hooks, "show", lambda output, *_: kept.append(output))
    seconds = 0.5 if command == "yes" else 30

    async def run() -> str:
        wrong = await hooks.run_on_host(("sh", "-c", command), Facts("u", "vm"), seconds, Report(io.StringIO()))
        await asyncio.sleep(0.1)  # the loop hears of the end of what was killed
        return wrong

    wrong = asyncio.run(run())
    assert wrong.endswith("killed" if command == "yes" else "exit code 3")
    assert [len(output) for output in kept] == [1 << 16]


def test_a_name_is_no_word_of_a_shell(tmp_path):
    report = Report(io.StringIO(), prefix=False)
    name = f"$(touch {tmp_path}/owned)`touch {tmp_path}/owned`"
    command = ("sh", "-c", 'echo "$LVG_GUEST_NAME"')
    assert asyncio.run(hooks.run_on_host(command, Facts("u", name), 30, report)) == ""
    assert f"sync: {name}" in report.stream.getvalue().replace("sh: ", "sync: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_environment_can_hold_is_an_error_of_that_command(name):
    wrong = asyncio.run(hooks.run_on_host(("true",), Facts("u", name), 30, Report(io.StringIO())))
    assert "null byte" in wrong if "\0" in name else isinstance(wrong, str)


# -- floods and stalls -----------------------------------------------------------------------------------------------


class Sink:
    def write(self, data):
        pass

    def close(self):
        pass


async def turns_during(work):
    """Return how often others had their turn while this went on."""
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    try:
        await asyncio.wait_for(work, 30)
    finally:
        counting.cancel()
    return turns


def test_a_monitor_that_talks_without_end_leaves_the_others_their_turns():
    async def run():
        reader, all_heard, told = asyncio.StreamReader(limit=qmp.LINE), asyncio.Event(), []

        def hear(event, data):
            told.append(event)
            if len(told) == FLOOD:
                all_heard.set()

        reader.feed_data(b'{"event": "X"}\n' * FLOOD)
        monitor = qmp.Monitor(reader, Sink(), hear)
        turns = await turns_during(all_heard.wait())
        monitor.close()
        return turns

    assert asyncio.run(run()) > FLOOD / 2


def test_an_agent_that_talks_without_end_leaves_the_others_their_turns():
    async def run():
        reader = asyncio.StreamReader()
        reader.feed_data(b"\n" * FLOOD)
        reader.feed_eof()

        async def sync():
            with pytest.raises(qmp.QmpError):
                await agentsocket._sync(reader, Sink())

        return await turns_during(sync())

    assert asyncio.run(run()) > FLOOD / 2


@pytest.mark.parametrize("words", [b"", b"{", b"\n", b'{"return": 1}\n', b"\xff{}\n", b'\xff{"return": {}}\n'])
def test_an_agent_that_never_comes_to_the_point_is_given_up(tmp_path, monkeypatch, words):
    monkeypatch.setattr(agentsocket, "_SYNC_WITHIN", 0.2)

    async def trickle(reader, writer):
        try:
            while not writer.is_closing():
                writer.write(words)
                await asyncio.sleep(0.01)
        finally:
            writer.close()

    async def run():
        server = await asyncio.start_unix_server(trickle, str(tmp_path / "agent"))
        with pytest.raises(qmp.QmpError, match="agent"):
            await asyncio.wait_for(agentsocket.AgentSocket(tmp_path / "agent").ask("{}", 5), 10)
        server.close()

    asyncio.run(run())


def test_a_command_in_a_guest_whose_agent_says_that_it_runs_for_ever_is_given_up():
    asked = []

    async def ask(request):
        asked.append(json.loads(request)["execute"])
        return '{"return": {"pid": 1, "exited": false}}'

    with pytest.raises(LibvirtError, match="not done"):
        asyncio.run(agent.run(("sync",), 0.5, ask))
    assert len(asked) < 10, "it is not asked without a pause"


# -- programs --------------------------------------------------------------------------------------------------------


def put(folder: Path, mode: int = 0o755) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "systemctl").write_text("#!/bin/sh\n")
    (folder / "systemctl").chmod(mode)
    folder.chmod(0o755)
    return folder


def test_a_program_that_others_may_have_put_there_is_passed_over(tmp_path, monkeypatch):
    good, writable, loose = (put(tmp_path / name) for name in ("good", "writable", "loose"))
    loose.chmod(0o777)
    (writable / "systemctl").chmod(0o757)
    folders = [put(tmp_path / "not-executable", 0o644), tmp_path / "missing", writable, loose, good]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ":".join(["", ".", "loose", *map(str, folders)]))
    assert programs.trusted("systemctl") == str(good / "systemctl")
    monkeypatch.setenv("PATH", ":".join(map(str, folders[:-1])))
    with pytest.raises(FileNotFoundError):
        programs.trusted("systemctl")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", ["folder", "program"])
def test_a_program_of_another_user_is_passed_over(tmp_path, monkeypatch, what):
    theirs = put(tmp_path / "theirs")
    os.chown(theirs if what == "folder" else theirs / "systemctl", 12345, 12345)
    monkeypatch.setenv("PATH", str(theirs))
    with pytest.raises(FileNotFoundError):
        programs.trusted("systemctl")
