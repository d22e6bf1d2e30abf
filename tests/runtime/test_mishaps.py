"""What goes wrong beside the guests: in the middle of the opening, on the disk, in libvirt's own calls."""

import asyncio
import io
import json
import subprocess

import pytest

from lvg.stopvm import (
    agentsocket,
    anew,
    history,
    hostdown,
    journal,
    keeper,
    lastboot,
    links,
    policy,
    qmp,
    qmpsession,
    rescue,
    restore,
    stale,
)
from lvg.stopvm.calls import CallTimeoutError
from lvg.stopvm.decide import Facts
from lvg.stopvm.history import Entry, History, Record
from lvg.stopvm.keeper import Keeper
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report
from lvg.stopvm.session import LibvirtError


def gate(fake, monkeypatch, method, before):
    """Have `before(session, how often)` called at each call of a method of the fake sessions; it may raise."""
    real, times = getattr(fake, method), {}

    async def called(self, *words):
        times[self.uri] = times.get(self.uri, 0) + 1
        before(self, times[self.uri])
        return await real(self, *words)

    monkeypatch.setattr(fake, method, called)


def test_a_guest_that_is_started_during_the_stop_is_said_to_be_left(play, act):
    def ends(session, name):
        session.tell("new", "started")
        session.end(name, "clean")

    played = play({"g": act()}, ends=ends)
    assert played.code == 0
    assert "<4>new was started during the stop; it is left to libvirt-guests" in played.said


def test_a_connection_that_goes_before_its_guests_are_known_is_opened_again(play, act, fake, monkeypatch):
    def before(session, times):
        if times == 1:
            session.lose()

    gate(fake, monkeypatch, "running", before)
    first = fake.open

    async def again(self, events):
        self.unreachable = "" if self.opened else self.unreachable
        await first(self, events)

    monkeypatch.setattr(fake, "open", again)
    played = play({"g": act()}, {"timeout": 10, "budget": 20})
    assert (played.verdicts, played.code) == ({"g": "clean"}, 0)
    assert "was lost while guests were stopping" in played.said


def test_a_libvirt_that_cannot_list_its_guests_is_asked_again(play, act, fake, tmp_path, monkeypatch):
    def before(session, times):
        if times == 1:
            raise LibvirtError("internal error")

    gate(fake, monkeypatch, "running", before)
    monkeypatch.setattr(rescue.Rescue, "attempt", lambda *_words, **_more: asyncio.sleep(0, "wait"))
    played = play({"g": act()})
    assert (played.verdicts, played.code) == ({"g": "clean"}, 0)
    assert "libvirt at fake:/// is out of reach: internal error" in played.said


def test_the_loss_of_a_connection_after_its_last_guest_is_no_error(play, act, fake):
    lost = []

    def ends(session, name):
        session.end(name, "clean")
        asyncio.get_running_loop().call_later(0.05, lambda: lost.append(session.lose()))

    other = fake({"slow": act(presses=4)}, uri="other:///", real="other:///")
    played = play({"g": act()}, also=(other,), ends=ends)
    assert (set(played.verdicts.values()), played.code) == ({"clean"}, 0)
    assert lost, "it went before the stop was over"
    assert "was lost" not in played.said


@pytest.mark.parametrize("error", ["", "No such file or directory"])
def test_a_daemon_that_falls_silent_during_the_stop_has_it_begin_anew(play, act, monkeypatch, error):
    """The new program is the end of this one, so here it fails; and then the stop goes on as well as it can."""
    taken = []

    def take_place(began, environment):
        taken.append(environment)
        raise OSError(error)

    monkeypatch.setattr(anew, "take_place", take_place)
    monkeypatch.setattr(rescue.Rescue, "attempt", lambda *_words, **_more: asyncio.sleep(0, "anew"))
    played = play({"g": act(presses=0)}, {"timeout": 3, "budget": 5}, breaks_at=1)
    assert taken
    assert "<3>the libvirt daemon fell silent: this stop begins anew" in played.said
    assert f"<3>it cannot: {error}" in played.said
    assert played.verdicts == {"g": "left"}


def test_a_new_stop_takes_over_the_time_and_the_environment(monkeypatch):
    seen = []
    monkeypatch.setattr("os.execve", lambda *words: seen.append(words))
    monkeypatch.setenv("KEPT", "1")
    anew.take_place(12.5, {"NOTIFY_SOCKET": "/run/x"})
    environment = seen[0][2]
    assert (environment["KEPT"], environment["NOTIFY_SOCKET"]) == ("1", "/run/x")
    assert "12.5" in environment.values()


@pytest.mark.parametrize("socket", ["/run/systemd/notify", "@abstract"])
def test_what_systemd_gave_is_handed_on(monkeypatch, socket):
    monkeypatch.setenv("NOTIFY_SOCKET", socket)
    monkeypatch.setenv("STOPVM_WATCHDOG", "15")
    assert Notifier.from_environment().environment() == {"NOTIFY_SOCKET": socket, "STOPVM_WATCHDOG": "15"}
    assert Notifier().environment() == {}


def test_jobs_that_cannot_be_cancelled_keep_the_guest_up(play, act, fake, monkeypatch):
    async def cancel_jobs(self, guest):
        raise LibvirtError("cannot cancel")

    monkeypatch.setattr(fake, "cancel_jobs", cancel_jobs)
    played = play({"g": act(in_the_way="a backup")}, {"action": "save", "on_timeout": ["leave"]})
    assert played.verdicts["g"] != "saved"
    assert "its jobs cannot be cancelled: cannot cancel" in played.said


def test_a_guest_whose_job_cannot_be_told_is_asked_all_the_same(play, act, fake, monkeypatch):
    async def job(self, guest):
        raise CallTimeoutError("no answer")

    monkeypatch.setattr(fake, "job", job)
    played = play({"g": act()})
    assert (played.asked("g"), played.code) == (["acpi"], 0)


def test_a_disk_that_does_not_answer_holds_up_no_stop(tmp_path, monkeypatch):
    class Stuck:
        def __init__(self, _slots):
            pass

        async def run(self, seconds, function):
            raise CallTimeoutError("no answer")

    monkeypatch.setattr(keeper, "Calls", Stuck)
    stream = io.StringIO()
    kept = Keeper(History(tmp_path), Record(started="now"), Report(stream, True))
    asyncio.run(kept.begin())
    assert stream.getvalue() == "<3>the history cannot be written: the disk does not answer\n"


def test_a_broken_record_is_told_at_the_next_stop(tmp_path):
    (tmp_path / "history").mkdir(mode=0o700)
    (tmp_path / "history/20260101T000000Z-1.json").write_text("{")
    (tmp_path / "history/20260101T000000Z-1.json").chmod(0o600)
    stream = io.StringIO()
    kept = Keeper(History(tmp_path), Record(started="now"), Report(stream, True))
    kept.fill([Facts("u", "g")])
    assert "<4>" in stream.getvalue()
    assert [entry.name for entry in kept.record.guests] == ["g"]


# -- bringing guests back -------------------------------------------------------------------------------------------


def back(tmp_path, session, *entries, rules=None, **limits):
    store, stream = History(tmp_path), io.StringIO()
    path = store.new()
    record = Record(guests=list(entries))
    store.write(path, record.as_json())
    rule = policy.compile_policy({"boot": "restore", **(rules or {})})

    async def run():
        latest = store.latest()[1]
        work = restore.Restore(rule, [session], store, path, latest, Report(stream, True), Notifier(), **limits)
        return await asyncio.wait_for(work.run(), 20)

    return asyncio.run(run()), stream.getvalue()


def entry(name, uri="fake:///"):
    return Entry(uri=uri, uuid=f"uuid-{name}", name=name, verdict="saved")


@pytest.mark.parametrize("fails", [False, True])
def test_the_clock_of_a_resumed_guest_is_set_if_the_policy_says_so(tmp_path, act, fake, monkeypatch, fails):
    async def resume(self, guest, paused, bypass_cache):
        self.up.add(guest.name)
        return "resumed"

    async def sync_time(self, guest):
        self.log.append((guest.name, "sync_time"))
        if fails:
            raise LibvirtError("no agent")

    monkeypatch.setattr(fake, "start", resume)
    monkeypatch.setattr(fake, "sync_time", sync_time)
    session = fake({"a": act()})
    session.up = set()
    code, said = back(tmp_path, session, entry("a"), rules={"sync_time": True})
    assert (code, session.log) == (0, [("a", "sync_time")])
    assert ("<4>a: its clock cannot be set: no agent" in said) == fails


def test_guests_of_a_uri_that_the_policy_no_longer_names_are_told(tmp_path, act, fake):
    session = fake({"a": act()})
    session.up = set()
    code, said = back(tmp_path, session, entry("a"), entry("old", "xen:///"))
    assert (code, session.up) == (3, {"a"})
    assert "<3>guests of xen:/// are not brought back: no such URI any more" in said


def test_a_full_disk_keeps_no_guest_from_coming_back(tmp_path, act, fake, monkeypatch):
    session = fake({"a": act()})
    session.up = set()
    write, written = History.write, []

    def full(self, path, data):
        written.append(path)
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        write(self, path, data)

    monkeypatch.setattr(History, "write", full)
    code, said = back(tmp_path, session, entry("a"))
    assert session.up == {"a"}
    assert code == 0
    assert "<3>the history cannot be written: [Errno 28] No space left on device" in said


def test_one_that_somebody_else_mended_is_not_opened_again(act, fake):
    async def run():
        session = fake({"a": act()})
        found = links.Links([session], Report(io.StringIO(), True), 1.0)
        await found.reach(session.uri)
        await found.reach(session.uri)
        return await found.mended(session, 1), session.opened

    assert asyncio.run(run()) == (True, 2)


# -- libvirt-guests' list -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "state"),
    [("", ""), ("ActiveState=active\nSubState=exited\n", "active/exited"), ("ActiveState=failed\nnoise\n", "failed/")],
)
def test_what_systemd_says_of_libvirt_guests(tmp_path, monkeypatch, said, state):
    monkeypatch.setattr(stale, "ask_systemd", lambda words, seconds: said)
    assert stale.guests_state(tmp_path) == state


def test_a_list_is_moved_when_the_start_of_libvirt_guests_is_through(tmp_path, monkeypatch):
    path, states = tmp_path / "libvirt-guests", ["activating/start", "active/running", "active/exited", "active/exited"]
    path.write_text("default u\n")
    monkeypatch.setattr(stale, "guests_state", lambda root=None: states.pop(0))
    monkeypatch.setattr(stale, "_AGAIN_AFTER", 0.0)
    aside = stale.wait_and_move(Report(io.StringIO(), True), path)
    assert aside is not None
    assert (path.exists(), aside.read_text()) == (False, "default u\n")


def test_a_list_that_cannot_be_moved_is_an_error_in_the_journal(tmp_path, monkeypatch):
    path, stream = tmp_path / "libvirt-guests", io.StringIO()
    path.touch()
    monkeypatch.setattr(stale, "guests_state", lambda root=None: "active/exited")

    def refused(self, target):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(type(path), "rename", refused)
    assert stale.move_aside(Report(stream, True), path) is None
    assert f"<3>{path} is stale and keeps libvirt-guests from stopping guests" in stream.getvalue()


# -- the last boot --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "began"),
    [
        (b"1767225600.123 host systemd[1]: x\n", "2026-01-01 00:00:00"),
        (b"", ""),
        (b"garbage\n", ""),
        (OSError("no sh"), ""),
        (subprocess.TimeoutExpired("sh", 1), ""),
    ],
)
def test_when_the_boot_before_began(monkeypatch, printed, began):
    def run(words, **options):
        assert (words[0], options["stdin"]) == ("/bin/sh", subprocess.DEVNULL)
        if isinstance(printed, Exception):
            raise printed
        return subprocess.CompletedProcess(words, 0, printed, b"")

    monkeypatch.setattr(subprocess, "run", run)
    assert journal.last_boot_began() == began


BOOT = "0f0e0d0c0b0a09080706050403020100"
STOPPING = {"UNIT": "graceful-shutdown.service", "MESSAGE_ID": "de5b426a63be47a7b6ac3eaac82e2f6f"}
STOPPING |= {"_BOOT_ID": BOOT, "__REALTIME_TIMESTAMP": "1767225600123456"}
STARTED = STOPPING | {"MESSAGE_ID": "39f53479d3a045ac8e11786248231fbf"}
UP = {"UNIT": "multi-user.target", "MESSAGE_ID": "39f53479d3a045ac8e11786248231fbf"}
DOWN = {"UNIT": "multi-user.target", "MESSAGE_ID": "9d1aaa27d60140bd96365438aad20286"}
THROUGH = {"UNIT": "virt-guest-shutdown.target", "MESSAGE_ID": "9d1aaa27d60140bd96365438aad20286"}
EARLIER = STOPPING | {"__REALTIME_TIMESTAMP": "1"}
BEGAN = "2026-01-01 00:00:00.123456"


@pytest.mark.parametrize(
    ("entries", "began"),
    [
        ([STARTED, UP, DOWN, STOPPING, THROUGH], BEGAN),
        ([STARTED, UP, EARLIER, STARTED, DOWN, STOPPING, THROUGH], BEGAN),
        ([STARTED, UP, DOWN, UP, DOWN, STOPPING, THROUGH], BEGAN),  # rescue mode, and back
        ([STARTED, UP, DOWN, STOPPING], None),  # the power went in the middle of it
        ([STARTED, UP, STOPPING, DOWN, THROUGH], None),  # the unit was stopped by hand before
        ([STARTED, UP, DOWN, STOPPING, THROUGH, STARTED], None),
        ([STARTED, UP, DOWN, THROUGH], None),
        ([], None),
        (["x", 7, None, DOWN, STOPPING | {"_BOOT_ID": None}, EARLIER | {"__REALTIME_TIMESTAMP": []}, THROUGH], None),
        ([DOWN, STOPPING | {"__REALTIME_TIMESTAMP": "9" * 30}, THROUGH], None),
    ],
)
def test_how_the_journal_tells_of_a_shutdown(monkeypatch, entries, began):
    def run(words, **options):
        assert words[0] == "/usr/bin/journalctl"
        assert f"--boot={BOOT}" in words
        return subprocess.CompletedProcess(words, 0, "\n".join(["{"] + [json.dumps(each) for each in entries]).encode())

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(journal, "trusted", lambda name: f"/usr/bin/{name}")
    found = journal.shutdown_of("0f0e0d0c-0b0a-0908-0706-050403020100")
    assert (found and found.began) == began
    assert not found or found.boot_id == "0f0e0d0c-0b0a-0908-0706-050403020100"


@pytest.mark.parametrize("fails", [None, subprocess.TimeoutExpired("journalctl", 1)])
def test_a_host_without_a_journal_tells_of_no_shutdown(monkeypatch, tmp_path, fails):
    def run(words, **options):
        assert "--boot=-1" in words
        raise fails

    if fails:
        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setattr(journal, "trusted", lambda name: f"/usr/bin/{name}")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    assert journal.shutdown_of("") is None


LOG = """\
2026-01-01 10:00:00.000+0000: starting up libvirt version: 9.0.0
2026-01-01 11:00:00.000+0000: shutting down, reason=shutdown
"""


def test_how_a_guest_ended_that_stopvm_lost_sight_of(tmp_path):
    folder = tmp_path / "var/log/libvirt/qemu"
    folder.mkdir(parents=True)
    (folder / "g.log").write_text(LOG)
    known = Entry(uri="qemu:///system", uuid="u", name="g")
    assert lastboot.how_ended(known, "2026-01-01T10:30:00Z", tmp_path) == "clean"
    assert lastboot.how_ended(Entry(uri="xen:///", uuid="u", name="g"), "2026-01-01T10:30:00Z", tmp_path) == ""
    (folder / "g.log").unlink()
    (folder / "g.log").mkdir()
    assert lastboot.how_ended(known, "2026-01-01T10:30:00Z", tmp_path) == ""


def test_a_process_that_ends_while_it_is_looked_at_is_none(tmp_path):
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/status").symlink_to("gone")
    assert rescue.daemon_runs(tmp_path) is False
    (tmp_path / "proc/8/comm").mkdir(parents=True)
    assert hostdown._guest_processes(tmp_path) is False
    (tmp_path / "proc/9").mkdir()
    (tmp_path / "proc/9/comm").write_text("qemu-system-x86\n")
    assert hostdown._guest_processes(tmp_path) is True


def test_a_boot_without_an_id_is_no_boot(monkeypatch):
    def gone(self):
        raise OSError(2, "No such file")

    assert history.boot_id()
    monkeypatch.setattr("pathlib.Path.read_text", gone)
    assert history.boot_id() == ""


@pytest.mark.parametrize(("error", "words"), [(TimeoutError(), "no answer"), (LibvirtError("no agent"), "no agent")])
def test_why_a_command_in_the_guest_failed_is_never_left_out(play, act, fake, monkeypatch, error, words):
    async def execute(self, guest, command, seconds):
        raise error

    monkeypatch.setattr(fake, "execute", execute)
    played = play({"g": act(agent="obeys")}, {"guests": [{"match": "g", "before_stop": [["sync"]]}]})
    assert f"sync: {words}" in played.said


# -- a guest's agent without libvirt --------------------------------------------------------------------------------


def agent_that(tmp_path, work, *answers):
    """Talk to an agent that comes into step, then gives these answers in turn; None closes, "" is silence."""

    todo = list(answers)

    async def serve(reader, writer):
        while line := await reader.readline():
            words = line.lstrip(b"\xff")
            if b"guest-sync" in words:
                token = json.loads(words)["arguments"]["id"]
                answer = json.dumps({"return": token}).encode()
                writer.write((b"\xff" if b"delimited" in words else b"") + answer + b"\n")
                continue
            answer = todo.pop(0) if todo else None
            if answer is None:
                break
            writer.write(answer.encode())
        writer.close()

    async def run():
        server = await asyncio.start_unix_server(serve, tmp_path / "agent")
        async with server:
            return await asyncio.wait_for(work(agentsocket.AgentSocket(tmp_path / "agent")), 10)

    return asyncio.run(run())


@pytest.mark.parametrize("answer", [None, "", '{"return": {}}\n'])
def test_an_agent_that_shuts_down_need_not_say_so(tmp_path, monkeypatch, answer):
    monkeypatch.setattr(agentsocket, "_NO_NEWS", 0.05)
    assert agent_that(tmp_path, lambda agent: agent.shut_down(), answer) is None


def test_an_agent_that_refuses_to_shut_down(tmp_path):
    with pytest.raises(qmp.QmpError, match="the guest's agent refuses: no"):
        agent_that(tmp_path, lambda agent: agent.shut_down(), '{"error": {"desc": "no"}}\n')


def test_after_silence_an_agent_is_called_anew(tmp_path):
    async def twice(agent):
        with pytest.raises(qmp.QmpError, match="no answer"):
            await agent.ask("{}", 0.05)
        return await agent.ask("{}", 5)

    assert json.loads(agent_that(tmp_path, twice, "", '{"return": 1}\n')) == {"return": 1}


def test_without_libvirt_nobody_knows_how_a_guest_ended(tmp_path):
    session = qmpsession.QmpSession("qemu:///system", tmp_path)

    async def run():
        with pytest.raises(LibvirtError, match="only libvirt can abort its job"):
            await session.abort_job(Facts("u", "g"))
        return await session.how_ended(Facts("u", "g")), await session.names()

    assert asyncio.run(run()) == ("", [])
