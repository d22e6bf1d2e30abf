"""Guests whose libvirtd is gone: QEMU is talked to itself, and nothing that it answers does harm."""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvg.stopvm import agentsocket, hostdown, qemuprocess, qmp, rescue
from lvg.stopvm.decide import Facts
from lvg.stopvm.qmpsession import QmpSession
from lvg.stopvm.report import Report
from lvg.stopvm.rescue import Rescue
from lvg.stopvm.session import Events, LibvirtError, NoAnswerError, UnreachableError

FAKE = Path(__file__).with_name("fake_qemu.py")
STATE = """\
<!--
WARNING: THIS IS AN AUTO-GENERATED FILE.
-->
<domstatus state='running' reason='booted' pid='1'>
  <monitor path='/{name}.sock' type='unix'/>
  <job type='none' async='{job}' phase='none' flags='0x0'/>
  <domain type='qemu' id='1'>
    <name>{name}</name>
    <uuid>{uuid}</uuid>
    <devices>
      <channel type='unix'>
        <source mode='bind' path='/{name}.agent'/>
        <target type='virtio' name='org.qemu.guest_agent.0' state='{agent}'/>
      </channel>
    </devices>
  </domain>
</domstatus>
"""


@dataclass
class Host:
    """A host without libvirtd, on which fake QEMU processes run."""

    root: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, name: str, behaviour: str = "obeys", status: str = "running", job: str = "none") -> int:
        known = f"uuid-{name}"
        sockets = [
            str(self.root / f"{name}.sock"),
            *([str(self.root / f"{name}.agent")] if "agent" in behaviour else []),
        ]
        command = [sys.executable, "-S", str(FAKE), "-uuid", known, behaviour, status, *sockets]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.started.append(process)
        folder = self.root / "run/libvirt/qemu"
        agent = "connected" if "agent" in behaviour else "disconnected"
        (folder / f"{name}.xml").write_text(STATE.format(name=name, uuid=known, job=job, agent=agent))
        (folder / f"{name}.pid").write_text(f"{process.pid}\n")
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process.pid

    def asked(self, name: str) -> list[str]:
        """What its monitor and its agent were asked, without what is asked of every guest."""
        of_each = ("qmp_capabilities", "query-status", "migrate_cancel", "ended")
        return [line for line in self.noted(name) if line not in of_each]

    def noted(self, name: str) -> list[str]:
        return (self.root / f"{name}.sock.log").read_text().split("\n")[:-1]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "run/libvirt/qemu").mkdir(parents=True)
    (tmp_path / "proc").symlink_to("/proc")
    found = Host(tmp_path)
    yield found
    for process in found.started:
        process.kill()
        process.communicate()


Talk = Callable[[QmpSession, Facts], object]


def talk(host: Host, work: Talk, greeting: float = 10.0) -> tuple[Facts, list[str]]:
    """Do `work` with the only guest; return what was known of it, and what is told until its process has ended."""

    async def run() -> tuple[Facts, list[str]]:
        told: list[str] = []
        over = asyncio.Event()

        def hear(_uri: str, _uuid: str, _name: str, what: str) -> None:
            told.append(what)
            if what.startswith("stopped") or what == "gone":
                over.set()

        session = QmpSession("qemu:///system", host.root, greeting=greeting)
        await session.open(Events(hear, lambda _: None))
        (facts,) = await session.running()
        await work(session, facts)
        await asyncio.wait_for(over.wait(), 10)
        return facts, told

    return asyncio.run(run())


async def press(session: QmpSession, guest: Facts) -> None:
    await session.ask(guest, "acpi")


async def nothing(session: QmpSession, guest: Facts) -> None:
    pass


CLEAN = ["finished", "stopped:clean"]


@pytest.mark.parametrize(
    ("status", "state", "asked"),
    [
        ("running", "running", ["connect", "system_powerdown", "quit"]),
        ("paused", "paused", ["connect", "cont", "system_powerdown", "quit"]),
        ("postmigrate", "paused", ["connect", "cont", "system_powerdown", "quit"]),
        ("io-error", "paused", ["connect", "cont", "system_powerdown", "quit"]),
        ("suspended", "pmsuspended", ["connect", "system_wakeup", "system_powerdown", "quit"]),
        ("shutdown", "shutdown", ["connect", "quit"]),  # it ended while nobody listened
    ],
)
def test_a_guest_ends_whatever_its_state(host, status, state, asked):
    host.start("g", "obeys", status)
    facts, told = talk(host, nothing if status == "shutdown" else press)
    assert (facts.name, facts.uri, facts.state) == ("g", "qemu:///system", state)
    assert told == CLEAN
    assert host.asked("g") == asked


def test_a_second_press(host):
    async def twice(session, guest):
        await press(session, guest)
        await press(session, guest)

    host.start("g", "second press")
    assert talk(host, twice)[1] == CLEAN


def test_an_end_that_was_not_told_shows_at_the_next_press(host):
    async def twice(session, guest):
        await press(session, guest)
        while "ended" not in host.noted("g"):
            await asyncio.sleep(0.02)
        with contextlib.suppress(LibvirtError):  # it is gone
            await press(session, guest)

    host.start("g", "tells no end")
    assert talk(host, twice)[1] == CLEAN
    assert host.asked("g").count("system_powerdown") == 1


def test_by_the_agent_in_step_with_it(host):
    host.start("g", "agent")
    facts, told = talk(host, lambda session, guest: session.ask(guest, "agent"))
    assert facts.agent
    assert told == CLEAN
    assert host.asked("g") == ["connect", "agent guest-sync-delimited", "agent guest-shutdown", "quit"]


def test_an_agent_that_refuses(host, monkeypatch):
    monkeypatch.setattr(agentsocket, "_NO_NEWS", 30)

    async def refused(session, guest):
        with pytest.raises(LibvirtError, match="disabled"):
            await session.ask(guest, "agent")
        await press(session, guest)

    host.start("g", "agent refuses")
    assert talk(host, refused)[1] == CLEAN


def test_an_agent_that_is_not_there(host):
    async def refused(session, guest):
        for request in (session.ask(guest, "agent"), session.ping(guest), session.execute(guest, ("/bin/true",), 5)):
            with pytest.raises(LibvirtError, match="agent"):
                await request
        await press(session, guest)

    host.start("g")
    assert talk(host, refused)[1] == CLEAN


def test_a_command_in_the_guest(host):
    async def command(session, guest):
        assert await session.execute(guest, ("/bin/true",), 5) == (3, "hello")
        await press(session, guest)

    host.start("g", "agent")
    talk(host, command)


def test_a_process_that_ends_by_itself_has_not_finished(host):
    host.start("g", "dies")

    async def deadly(session, guest):
        with pytest.raises(LibvirtError):
            await press(session, guest)

    assert talk(host, deadly)[1] == ["gone"]


def test_a_kernel_that_panics_is_told(host):
    host.start("g", "panics")

    async def end(session: QmpSession, guest: Facts) -> None:
        await session.ask(guest, "acpi")
        await session.destroy(guest, graceful=True)

    assert talk(host, end)[1] == ["crashed", "stopped:destroyed"]


def test_a_process_that_gets_a_signal_was_killed(host):
    pid = host.start("g", "deaf")

    async def kill(session, guest):
        await press(session, guest)
        os.kill(pid, signal.SIGTERM)

    assert talk(host, kill)[1] == ["killed", "stopped:clean"]


def test_destroy_is_quit(host):
    host.start("g", "deaf")
    assert talk(host, lambda session, guest: session.destroy(guest, True))[1] == ["stopped:destroyed"]


@pytest.mark.parametrize("status", ["paused", "postmigrate"])
@pytest.mark.parametrize("job", ["save", "snapshot", "dump"])
def test_a_guest_that_libvirtd_had_paused_was_running(host, status, job):
    host.start("g", "obeys", status, job)
    facts, told = talk(host, press)
    assert (facts.state, told) == ("running", CLEAN)
    assert "cont" in host.asked("g")


@pytest.mark.parametrize("job", ["migration out", "migration in"])
def test_a_guest_that_may_run_on_another_host_is_not_resumed(host, job):
    async def refused(session, guest):
        with pytest.raises(LibvirtError, match="another"):
            await press(session, guest)
        await session.destroy(guest, True)

    host.start("g", "obeys", "postmigrate", job)
    talk(host, refused)
    assert host.asked("g") == ["connect", "quit"]


def test_a_guest_whose_save_was_complete_is_not_resumed(host):
    image = host.root / "var/lib/libvirt/qemu/save/g.save"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"LibvirtQemudSave and more")
    host.start("g", "obeys", "postmigrate", "save")
    facts, told = talk(host, nothing)
    assert (facts.state, told) == ("shutdown", ["stopped:saved"])
    assert host.asked("g") == ["connect", "quit"]


@pytest.mark.parametrize("behaviour", ["no greeting", "closes", "garbage", "endless"])
def test_a_monitor_that_is_none_keeps_nothing_up(host, behaviour):
    pid = host.start("g", behaviour)

    async def refused(session, guest):
        for request in (press(session, guest), session.destroy(guest, True)):
            with pytest.raises(LibvirtError, match="monitor"):
                await request
        os.kill(pid, signal.SIGKILL)

    facts, told = talk(host, refused, greeting=0.15)
    assert (facts.state, told) == ("running", ["gone"])


def test_what_only_libvirt_can_do_is_refused(host):
    async def refused(session, guest):
        for request in (session.save(guest, False, 1), session.start(guest, False, False), session.sync_time(guest)):
            with pytest.raises(LibvirtError, match="only libvirt"):
                await request
        with pytest.raises(LibvirtError, match="not found"):
            await press(session, Facts("unknown", "unknown"))
        await press(session, guest)

    host.start("g")
    talk(host, refused)


def test_each_guest_is_connected_to_once(host):
    async def run() -> None:
        session = QmpSession("qemu:///system", host.root)
        await session.open(Events(lambda *_: None, lambda _: None))
        assert {facts.name for facts in await session.running()} == {"a", "b"}
        assert {facts.name for facts in await session.running()} == {"a", "b"}

    for name in ("a", "b"):
        host.start(name)
    asyncio.run(run())
    assert host.asked("a") == host.asked("b") == ["connect"]


def test_the_monitor_of_a_guest_that_is_not_wanted_is_left_alone(host):
    async def run() -> None:
        session = QmpSession("qemu:///system", host.root, lambda name: name == "a")
        await session.open(Events(lambda *_: None, lambda _: None))
        assert {facts.name for facts in await session.running()} == {"a", "b"}

    for name in ("a", "b"):
        host.start(name)
    asyncio.run(run())
    assert host.asked("a") == ["connect"]
    assert not (host.root / "b.sock.log").exists()


def test_old_pid_files_are_no_guests(host):
    folder = host.root / "run/libvirt/qemu"
    host.start("ended")
    host.started[0].kill()
    host.started[0].wait()
    (folder / "used-again.pid").write_text(f"{os.getpid()}\n")
    (folder / "used-again.xml").write_text(STATE.format(name="used-again", uuid=uuid.uuid4(), job="none", agent=""))
    (folder / "driver.pid").write_text(f"{os.getpid()}\n")
    (folder / "nonsense.pid").write_text("nonsense")
    assert qemuprocess.find(host.root) == []


@pytest.mark.parametrize("state", [None, "", "<domstatus>", "<domstatus/>", "\0", "<a>" * 2000])
def test_without_a_usable_state_file_the_folder_tells_where_the_monitor_is(host, state):
    host.start("guest-with-a-very-long-name")
    file = host.root / "run/libvirt/qemu/guest-with-a-very-long-name.xml"
    file.unlink() if state is None else file.write_text(state)
    assert qemuprocess.find(host.root) == []
    monitor = host.root / "var/lib/libvirt/qemu/domain-3-guest-with-a-very-lo/monitor.sock"
    monitor.parent.mkdir(parents=True)
    monitor.touch()
    (found,) = qemuprocess.find(host.root)
    assert (found.name, found.monitor, found.agent) == ("guest-with-a-very-long-name", monitor, None)


@pytest.mark.parametrize(("name", "others"), [("db", ["2-web-db", "10-db2"]), ("w*", ["2-web"]), ("[ab]", ["2-a"])])
def test_the_folder_of_another_guest_is_never_taken(host, name, others):
    """Names that end alike, or read like patterns."""
    host.start(name)
    (host.root / f"run/libvirt/qemu/{name}.xml").unlink()
    for each in others:
        monitor = host.root / f"var/lib/libvirt/qemu/domain-{each}/monitor.sock"
        monitor.parent.mkdir(parents=True)
        monitor.touch()
    assert qemuprocess.find(host.root) == []
    monitor = host.root / f"var/lib/libvirt/qemu/domain-7-{name}/monitor.sock"
    monitor.parent.mkdir()
    monitor.touch()
    (found,) = qemuprocess.find(host.root)
    assert (found.name, found.monitor) == (name, monitor)


def test_a_state_file_as_libvirt_writes_it(tmp_path):
    text = STATE.format(name="ä &amp; b", uuid="u", job="save", agent="connected")
    found = qemuprocess.described(text.replace("</devices>", "<hostdev/></devices>"), tmp_path, persistent=False)
    assert (found.name, found.uuid, found.job) == ("ä & b", "u", "save")
    assert (found.monitor.parent, found.agent.parent) == (tmp_path, tmp_path)
    assert (found.agent_is_up, found.hostdev, found.persistent) == (True, True, False)


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode) | st.integers(1, 10**5).map(lambda count: b"[" * count))
def test_no_line_does_harm(line):
    try:
        found = qmp.parsed(line)
    except qmp.QmpError:
        return
    assert isinstance(qmp.complaint(found), str)


JSON = st.none() | st.booleans() | st.text(max_size=5) | st.lists(st.integers()) | st.dictionaries(st.text(), st.none())
KEYS = st.sampled_from(["QMP", "id", "event", "data", "return", "error", "desc", "x"])


@given(st.lists(st.dictionaries(KEYS, JSON | st.integers(0, 3)), max_size=5))
@settings(max_examples=50, deadline=None)
def test_no_answer_does_harm(answers):
    async def run() -> None:
        reader = asyncio.StreamReader(limit=qmp.LINE)
        sent = _Sent()
        monitor = qmp.Monitor(reader, sent, lambda event, data: None)
        asked = asyncio.ensure_future(monitor.execute("query-status"))
        for answer in answers:
            reader.feed_data(qmp.json.dumps(answer).encode() + b"\n")
        reader.feed_eof()
        try:
            await asyncio.wait_for(asked, 5)
        except qmp.QmpError:
            assert sent.closed or any("error" in answer for answer in answers)
        monitor.close()

    asyncio.run(run())


class _Sent:
    """A writer that remembers whether it was closed."""

    closed = False

    def write(self, data: bytes) -> None:
        assert data.endswith(b"\n")

    def close(self) -> None:
        self.closed = True


def test_an_answer_of_the_agent_that_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(agentsocket, "_LINE", 1 << 16)

    async def flood(reader, writer):
        while not writer.is_closing():
            writer.write(b"\xff" * 65536)
            await writer.drain()

    async def run() -> None:
        server = await asyncio.start_unix_server(flood, str(tmp_path / "agent"))
        with pytest.raises(qmp.QmpError, match="agent"):
            await agentsocket.AgentSocket(tmp_path / "agent").ask("{}", 5)
        server.close()

    asyncio.run(run())


# -- when it is done ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("daemon", "seconds", "by_hand", "shutdown"),
    [
        ("gone", 0, "wait", "talk"),
        ("gone", 9, "wait", "talk"),
        ("gone", 10, "talk", "talk"),
        ("silent", 0, "leave", "wait"),
        ("silent", 15, "leave", "wait"),
        ("silent", 25, "leave", "end"),
        ("there", 0, "leave", "wait"),
        ("there", 25, "leave", "leave"),
    ],
)
def test_when_qemu_is_talked_to(daemon, seconds, by_hand, shutdown):
    assert rescue.choice(daemon, seconds, local=True, host_goes_down=False) == by_hand
    assert rescue.choice(daemon, seconds, local=True, host_goes_down=True) == shutdown
    for goes_down in (False, True):
        assert rescue.choice(daemon, seconds, local=False, host_goes_down=goes_down) == "leave"


@pytest.mark.parametrize(
    ("name", "state", "uid", "pids", "runs"),
    [
        ("libvirtd", "S (sleeping)", "0", "7", True),
        ("virtqemud", "T (stopped)", "0", "7", True),
        ("libvirtd", "Z (zombie)", "0", "7", False),
        ("virtqemud", "S (sleeping)", "1000", "7", False),  # a user's own
        ("libvirtd", "S (sleeping)", "0", "7\t1", False),  # a container's
        ("virtlogd", "S (sleeping)", "0", "7", False),
    ],
)
def test_a_daemon_that_may_hold_monitors(tmp_path, name, state, uid, pids, runs):
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/8").mkdir()
    fields = f"Name:\t{name}\nState:\t{state}\nNSpid:\t{pids}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"
    (tmp_path / "proc/7/status").write_text(fields)
    assert rescue.daemon_runs(tmp_path) == runs


@pytest.mark.parametrize(
    ("error", "dies", "step", "killed"),
    [
        (NoAnswerError("no answer"), True, "talk", True),
        (NoAnswerError("no answer"), False, "leave", True),
        (UnreachableError("no permission"), True, "leave", False),
    ],
)
def test_only_a_daemon_that_hangs_is_killed(monkeypatch, error, dies, step, killed):
    asked: list[str] = []
    monkeypatch.setattr(hostdown, "ask_systemd", lambda words, within: asked.extend(words) or "")
    monkeypatch.setattr(rescue, "daemon_runs", lambda root: not (asked and dies))
    monkeypatch.setattr(rescue, "KILLED_WITHIN", 0.3)
    stream = io.StringIO()
    at_work = Rescue(frozenset({"default"}), True, Report(stream, prefix=True))
    assert asyncio.run(at_work.attempt("default", error, 15)) == "wait"
    assert asyncio.run(at_work.attempt("default", error, 60)) == step
    assert asked == (
        ["kill", "--kill-who=main", "--signal=SIGKILL", "libvirtd.service", "virtqemud.service"] if killed else []
    )
    assert ("<3>" in stream.getvalue()) == killed


def test_a_daemon_that_fell_silent_during_the_stop_gets_less_time(monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(hostdown, "ask_systemd", lambda words, within: asked.extend(words) or "")
    monkeypatch.setattr(rescue, "daemon_runs", lambda root: not asked)
    at_work = Rescue(frozenset({"default"}), True, Report(io.StringIO()))
    assert asyncio.run(at_work.attempt("default", NoAnswerError("no answer"), 15, lost=True)) == "anew"
    assert asked == [], "the next one does it"
    monkeypatch.setattr(rescue, "daemon_runs", lambda root: False)
    by_hand = Rescue(frozenset({"default"}), False, Report(io.StringIO()))
    assert asyncio.run(by_hand.attempt("default", UnreachableError("refused"), 5, lost=True)) == "wait"


# -- a whole stop ---------------------------------------------------------------------------------------------------


@pytest.fixture
def away(monkeypatch):
    """A libvirtd that is gone counts as gone for good at once, and there is none on this machine."""
    monkeypatch.setattr(rescue, "AWAY", 0.0)
    monkeypatch.setattr(rescue, "daemon_runs", lambda root: False)


def methods(played) -> dict[str, tuple[str, str]]:
    return {guest["name"]: (guest["verdict"], guest["method"]) for guest in played.record["guests"]}


def test_libvirt_is_out_of_reach_and_every_guest_ends(host, play, away):
    for name in ("plain", "second press", "agent"):
        host.start(name, name)
    host.start("paused", status="paused")
    host.start("down", status="shutdown")
    host.start("dies", "dies")
    host.start("deaf", "deaf")
    host.start("mute", "closes")
    rules = {"timeout": 12, "resend": 0.2, "budget": 30, "on_timeout": ["save", "leave"]}
    rules["guests"] = [{"match": "deaf", "timeout": 3}, {"match": "mute", "timeout": 3}]
    played = play({}, rules, root=host.root, unreachable="refused")
    clean = dict.fromkeys(("plain", "second press", "agent", "paused", "down"), ("clean", "qmp"))
    assert methods(played) == {**clean, "dies": ("lost", "qmp"), "deaf": ("left", "acpi"), "mute": ("left", "")}
    assert played.code == 2, "not 3: what became of the guests is known"
    assert "plain: clean after" in played.said
    assert "(qmp)" in played.said
    assert "out of reach: refused" in played.said
    assert "saving" not in played.said, "nobody can"


def test_all_ended_cleanly_is_a_success_although_libvirt_was_away(host, play, away):
    host.start("g")
    played = play({}, root=host.root, unreachable="refused")
    assert (methods(played), played.code) == ({"g": ("clean", "qmp")}, 0)
    assert "all guests are down" in played.said


def test_while_a_libvirtd_lives_no_monitor_is_touched(host, play, away, monkeypatch):
    monkeypatch.setattr(rescue, "daemon_runs", lambda root: True)
    host.start("g")
    played = play({}, root=host.root, unreachable="refused")
    assert (played.verdicts, played.code) == ({"g": "left"}, 3)
    assert not (host.root / "g.sock.log").exists()


def test_libvirtd_dies_during_the_stop(host, play, act, away):
    for name in ("asked", "unasked", "last"):
        host.start(name)
    host.start("paused", status="paused")
    host.start("second", "second press")
    rules = {"timeout": 10, "resend": 0.3, "budget": 20, "guests": [{"match": "unasked", "needs": ["last"]}]}
    acts = {"asked": act(presses=0), "unasked": act(), "last": act(), "second": act(presses=0)}
    acts["paused"] = act(facts={"state": "paused", "on_poweroff": "restart"})
    played = play(acts, rules, root=host.root, breaks_at=2)
    assert methods(played) == dict.fromkeys(acts, ("clean", "qmp"))
    assert played.code == 0
    assert all(host.asked(name).count("connect") == 1 for name in acts)
