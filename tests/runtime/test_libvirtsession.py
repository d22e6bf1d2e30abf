"""What becomes of each request, on its way to a driver like QEMU's, and of the driver's refusals."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lvg.stopvm.calls import Calls, CallTimeoutError
from lvg.stopvm.decide import Facts
from lvg.stopvm.session import Events, LibvirtError, NoAgentError, NoAnswerError, UnreachableError

libvirt = pytest.importorskip("libvirt")

import libvirt_qemu  # noqa: E402

from lvg.stopvm import connecting, domainjobs, libvirtsession  # noqa: E402
from lvg.stopvm.libvirtsession import LibvirtSession  # noqa: E402

GUEST = Facts("11111111-2222-3333-4444-555555555555", "vm", "qemu:///system")
AGENT = libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT
ACPI = libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN


class Refused(libvirt.libvirtError):
    """An error as libvirt raises it, without a libvirt that failed."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text, self.code = text, code

    def get_error_message(self) -> str:
        return self.text

    def get_error_code(self) -> int:
        return self.code


@dataclass
class Domain:
    """A guest that notes what is asked of it; `replies` are what calls return, raise or do."""

    replies: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*words: Any) -> Any:
            self.asked.append((name, *words))
            reply = self.replies.get(name)
            if isinstance(reply, list):
                reply = reply.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply() if callable(reply) else reply

        return call

    @property
    def names(self) -> list[str]:
        return [words[0] for words in self.asked]


@dataclass
class Connection:
    domain: Domain
    driver: str = "QEMU"
    alive: bool = True
    found: list[str] = field(default_factory=list)  # the threads that looked for the guest
    callbacks: dict[Any, Callable[..., None]] = field(default_factory=dict)
    refuses: tuple[str, ...] = ()

    def lookupByUUIDString(self, uuid: str) -> Domain:  # noqa: N802
        assert uuid == GUEST.uuid
        self.found.append(threading.current_thread().name)
        return self.domain

    def getType(self) -> str:  # noqa: N802
        if "getType" in self.refuses:
            raise Refused("who knows")
        return self.driver

    def getURI(self) -> str:  # noqa: N802
        return "qemu:///system"

    def isAlive(self) -> int:  # noqa: N802
        return int(self.alive)

    def domainEventRegisterAny(self, _dom: Any, event: int, callback: Any, _opaque: Any) -> None:  # noqa: N802
        if f"event {event}" in self.refuses:
            raise Refused("no such event")
        self.callbacks[event] = callback

    def registerCloseCallback(self, callback: Any, _opaque: Any) -> None:  # noqa: N802
        self.callbacks["close"] = callback

    def setKeepAlive(self, _interval: int, _count: int) -> None:  # noqa: N802
        """Some drivers do."""


@dataclass
class Host:
    """A session, and the connections behind it: the main one, and what threads of their own get."""

    domain: Domain = field(default_factory=Domain)
    main: Connection = field(init=False)
    others: list[Connection] = field(default_factory=list)
    full: bool = False  # no further connection opens
    news: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.main = Connection(self.domain)

    def connect(self, uri: str) -> Connection:
        assert uri == "qemu:///system"
        if self.full:
            raise UnreachableError("too many clients")
        self.others.append(Connection(self.domain))
        return self.others[-1]

    def play(self, *steps: Callable[[LibvirtSession], Awaitable[Any]]) -> list[Any]:
        """Do these, one after the other, in one session; errors are results."""
        events = Events(lambda *words: self.news.append(words), lambda uri: self.news.append((uri,)))

        async def run() -> list[Any]:
            session, results = LibvirtSession("qemu:///system", Calls(2, quick=1)), []
            for step in (lambda session: session.open(events), *steps):
                try:
                    results.append(await step(session))
                except (LibvirtError, CallTimeoutError) as error:
                    results.append(error)
            await asyncio.sleep(0.02)  # the last news
            return results[1:] if results[0] is None else results

        return asyncio.run(run())


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host()
    monkeypatch.setattr(connecting, "connect_twice", lambda uri: (found.main, found.main))
    monkeypatch.setattr(connecting, "connect", found.connect)
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", lambda domain, *words: domain.agent(*words))
    return found


@pytest.fixture
def stuck() -> Iterator[Callable[[], object]]:
    """A call that does not return before the test is over."""
    over = threading.Event()
    yield over.wait
    over.set()


LIVE = (
    "setLifecycleAction",
    libvirt.VIR_DOMAIN_LIFECYCLE_POWEROFF,
    libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY,
    libvirt.VIR_DOMAIN_AFFECT_LIVE,
)


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (lambda session: session.ask(GUEST, "acpi"), ("shutdownFlags", ACPI)),
        (lambda session: session.ask(GUEST, "agent"), ("shutdownFlags", AGENT)),
        (lambda session: session.resume(GUEST), ("resume",)),
        (lambda session: session.end_at_poweroff(GUEST), LIVE),
        (lambda session: session.abort_job(GUEST), ("abortJob",)),
        (lambda session: session.wake(GUEST), ("pMWakeup", 0)),
        (lambda session: session.save(GUEST, False, 5), ("managedSave", 0)),
        (lambda session: session.save(GUEST, True, 5), ("managedSave", libvirt.VIR_DOMAIN_SAVE_BYPASS_CACHE)),
        (lambda session: session.destroy(GUEST, True), ("destroyFlags", libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)),
        (lambda session: session.destroy(GUEST, False), ("destroyFlags", 0)),
        (lambda session: session.sync_time(GUEST), ("setTime", {}, libvirt.VIR_DOMAIN_TIME_SYNC)),
    ],
)
def test_each_request_is_one_call_and_its_refusal_is_told_in_libvirts_words(host, request_, asked):
    assert host.play(request_) == [None]
    assert host.domain.asked[-1] == asked
    host.domain.replies[asked[0]] = Refused("the guest is on strike")
    (error,) = host.play(request_)
    assert (type(error), str(error)) == (LibvirtError, "the guest is on strike")
    assert host.news == [], "the connection lives"


def test_an_agent_is_pinged_before_it_gets_the_order(host):
    host.domain.replies["agent"] = Refused("guest agent is not connected")
    (error,) = host.play(lambda session: session.ask(GUEST, "agent"))
    assert "guest agent is not connected" in str(error)
    assert host.domain.names == ["agent"], "no order for an agent that does not answer"


@pytest.mark.parametrize("code", [libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, libvirt.VIR_ERR_NO_SUPPORT])
def test_a_guest_without_an_agents_channel_never_has_an_agent(host, code):
    host.domain.replies["agent"] = Refused("QEMU guest agent is not configured", code)
    (error,) = host.play(lambda session: session.ping(GUEST))
    assert isinstance(error, NoAgentError)


def test_a_command_in_the_guest(host):
    running, ended = '{"return": {"exited": false}}', '{"return": {"exited": true, "exitcode": 3}}'
    host.domain.replies["agent"] = ['{"return": {"pid": 7}}', running, ended, "{}"]
    done, lies = host.play(*[lambda session: session.execute(GUEST, ("true",), 5)] * 2)
    assert done == (3, "")
    assert isinstance(lies, LibvirtError)


def test_a_save_that_takes_too_long_is_aborted(host, stuck):
    host.domain.replies = {"managedSave": stuck, "abortJob": Refused("no job")}
    (error,) = host.play(lambda session: session.save(GUEST, False, 0.02))
    assert str(error) == "saving took longer than 0 s"
    assert host.domain.names == ["managedSave", "abortJob"]


@pytest.mark.parametrize(
    ("replies", "flags", "how"),
    [
        ({"isActive": 1}, None, "running"),
        ({"hasManagedSaveImage": 1}, 0, "resumed"),
        ({}, 0, "started"),
        ({"hasManagedSaveImage": Refused("LXC has no such thing")}, 0, "started"),
        ({"createWithFlags": Refused("already running"), "isActive": [0, 1]}, 0, "running"),
    ],
)
def test_how_a_guest_came(host, replies, flags, how):
    host.domain.replies = replies
    assert host.play(lambda session: session.start(GUEST, False, False)) == [how]
    assert [words[1:] for words in host.domain.asked if words[0] == "createWithFlags"] == (
        [(flags,)] if flags == 0 else []
    )


def test_a_guest_that_does_not_come(host):
    host.domain.replies["createWithFlags"] = Refused("no disk")
    both = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_BYPASS_CACHE
    (error,) = host.play(lambda session: session.start(GUEST, True, True))
    assert str(error) == "no disk"
    assert ("createWithFlags", both) in host.domain.asked


@pytest.mark.parametrize(
    ("stats", "word"),
    [
        ({}, ""),
        ({"type": libvirt.VIR_DOMAIN_JOB_NONE}, ""),
        ({"type": 2, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN}, "migration"),
        ({"type": 2, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE}, "save"),
        ({"type": 2, "operation": 9999}, "job"),
    ],
)
def test_which_job_holds_a_guest(host, stats, word):
    host.domain.replies["jobStats"] = stats
    assert host.play(lambda session: session.job(GUEST)) == [word]


def test_drivers_other_than_qemus_have_no_jobs(host):
    host.main.driver = "LXC"
    job, cancelled, _ = host.play(
        lambda session: session.job(GUEST),
        lambda session: session.cancel_jobs(GUEST),
        lambda session: session.ask(GUEST, "acpi"),
    )
    assert (job, cancelled, host.domain.names) == ("", "", ["shutdown"])


DISKS = "<disk><target dev='vda' bus='virtio'/></disk><disk><target dev='vdb' bus='virtio'/></disk>"


@pytest.mark.parametrize(
    ("backup", "infos", "words", "aborted"),
    [
        (True, [{}, {}], "a backup", ["abortJob"]),
        (False, [{"type": 2}, {}], "the block job of vda", ["blockJobAbort"]),
        (
            True,
            [Refused("no such disk"), {"type": 2}],
            "a backup and the block job of vdb",
            ["abortJob", "blockJobAbort"],
        ),
        (False, [{}, {}], "", []),
    ],
)
def test_what_keeps_a_guest_from_being_saved_is_cancelled(host, backup, infos, words, aborted):
    operation = libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP
    stats = {"type": 2, "operation": operation} if backup else {"type": libvirt.VIR_DOMAIN_JOB_NONE}
    host.domain.replies = {"jobStats": stats, "XMLDesc": DISKS, "blockJobInfo": list(infos)}
    assert host.play(lambda session: session.cancel_jobs(GUEST)) == [words]
    assert [name for name in host.domain.names if "bort" in name] == aborted


def test_an_older_libvirt_does_not_know_all_jobs(monkeypatch):
    monkeypatch.delattr(libvirt, "VIR_DOMAIN_JOB_OPERATION_BACKUP")
    assert domainjobs.operation(Domain({"jobStats": {"type": 2, "operation": 9}})) == "job"


def test_calls_that_may_block_have_a_connection_of_their_own(host):
    host.play(lambda session: session.save(GUEST, False, 5), lambda session: session.save(GUEST, False, 5))
    (own,) = host.others
    assert (len(own.found), len(host.main.found)) == (2, 0)


def test_a_connection_that_is_gone_is_opened_again(host):
    def dies(session: LibvirtSession) -> Any:
        host.others[0].alive = False
        return session.save(GUEST, False, 5)

    assert host.play(lambda session: session.save(GUEST, False, 5), dies) == [None, None]
    assert [len(own.found) for own in host.others] == [1, 1]


def test_without_room_for_another_connection_the_main_one_serves(host):
    host.full = True
    assert host.play(lambda session: session.save(GUEST, False, 5)) == [None]
    assert len(host.main.found) == 1


def test_a_loss_that_libvirt_does_not_tell_is_noticed_once(host):
    host.main.alive = False
    host.domain.replies["resume"] = Refused("client socket is closed")
    host.play(lambda session: session.resume(GUEST), lambda session: session.resume(GUEST))
    host.main.callbacks["close"](host.main, 1, None)
    assert host.news == [("qemu:///system",)]


def test_after_a_quick_call_without_an_answer_others_do_not_queue_behind_it(host, monkeypatch, stuck):
    host.domain.replies["resume"] = [stuck, None]

    async def impatient(session: LibvirtSession) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(libvirtsession, "_QUICK", 0.05)
            await session.resume(GUEST)

    first, second = host.play(impatient, lambda session: session.resume(GUEST))
    assert isinstance(first, CallTimeoutError)
    assert second is None
    assert len(host.others) == 1, "it has a connection of its own"


def test_libvirt_that_takes_a_connection_and_never_answers(host, monkeypatch, stuck):
    monkeypatch.setattr(libvirtsession, "_QUICK", 0.02)
    monkeypatch.setattr(connecting, "connect_twice", lambda uri: stuck())
    (error,) = host.play()
    assert isinstance(error, NoAnswerError)


@pytest.mark.parametrize("refuses", ["getType", f"event {libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE}"])
def test_a_connection_without_news_is_none(host, refuses):
    host.main.refuses = (refuses,)
    (error,) = host.play()
    assert isinstance(error, UnreachableError)


def test_a_driver_without_agents_is_no_worse(host):
    host.main.refuses = (f"event {libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE}",)
    assert host.play(lambda session: session.resume(GUEST)) == [None]


def test_what_libvirt_tells_of_guests_reaches_those_who_wait(host):
    guest = Domain({"UUIDString": GUEST.uuid, "name": "vm"})

    async def tell(_session: LibvirtSession) -> None:
        lifecycle = host.main.callbacks[libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE]
        agent = host.main.callbacks[libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE]
        lifecycle(None, guest, libvirt.VIR_DOMAIN_EVENT_SUSPENDED, 0, None)
        lifecycle(None, guest, libvirt.VIR_DOMAIN_EVENT_STOPPED, 0, None)
        agent(None, guest, 2, 0, None)  # disconnected
        agent(None, guest, 1, 0, None)

    host.play(tell)
    assert host.news == [("qemu:///system", GUEST.uuid, "vm", what) for what in ("stopped:clean", "agent")]
