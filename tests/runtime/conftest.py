"""A libvirt that is not there: guests that obey, are deaf, hang or fail, without waiting for real ones."""

import asyncio
import faulthandler
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lvg.stopvm import keeper as keeping
from lvg.stopvm import policy
from lvg.stopvm.calls import Calls
from lvg.stopvm.decide import Facts
from lvg.stopvm.history import History, Record
from lvg.stopvm.keeper import Keeper
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report
from lvg.stopvm.session import Events, LibvirtError, UnreachableError
from lvg.stopvm.stop import Stop

sys.path.insert(0, str(Path(__file__).parent))

import clock


@dataclass
class Act:
    """How a fake guest behaves."""

    presses: int = 1  # ACPI presses until it goes down; 0 = deaf
    agent: str = ""  # "" none, "obeys", "fails", "hangs"
    ask: str = ""  # "hangs": the call never returns; else an error
    save: str = ""  # an error
    destroy: str = ""  # an error
    lifecycle: str = ""  # an error
    jobs: list[str] = field(default_factory=lambda: [""])  # what `job` says, in turn; the last one for good
    in_the_way: str = ""  # a block job or a backup that keeps it from being saved
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class FakeSession:
    acts: dict[str, Act]
    uri: str = "fake:///"
    real: str = "fake:///"
    unreachable: str = ""
    breaks_at: int = 0  # the connection goes after so many requests
    log: list[tuple[str, str]] = field(default_factory=list)
    up: set[str] = field(default_factory=set)
    pressed: dict[str, int] = field(default_factory=dict)
    events: Events | None = None
    opened: int = 0
    ends: Callable[["FakeSession", str], None] | None = None  # what happens when a guest obeys, if libvirt is not well
    late: Callable[[], bool] | None = None  # it does not answer while this is true
    account: str = ""  # what libvirt says later of a guest that ended

    def __post_init__(self) -> None:
        self.up = set(self.acts)

    async def open(self, events: Events) -> None:
        self.opened += 1
        while self.late and self.late():
            await asyncio.sleep(0.01)
        if self.unreachable:
            raise UnreachableError(self.unreachable)
        self.events = events

    async def running(self) -> list[Facts]:
        acts = [(name, act) for name, act in self.acts.items() if name in self.up]
        return [Facts(f"uuid-{name}", name, self.uri, agent=bool(act.agent), **act.facts) for name, act in acts]

    async def names(self) -> list[str]:
        return list(self.acts)

    async def how_ended(self, guest: Facts) -> str:
        return self.account

    def _request(self, guest: Facts, what: str) -> Act:
        self.log.append((guest.name, what))
        if self.breaks_at and len(self.log) == self.breaks_at:
            self.lose()
        if self.unreachable:
            raise LibvirtError(self.unreachable)
        if guest.name not in self.up:
            raise LibvirtError("domain is not running")
        return self.acts[guest.name]

    def end(self, name: str, how: str) -> None:
        self.up.discard(name)
        self.tell(name, f"stopped:{how}")

    def tell(self, name: str, what: str) -> None:
        assert self.events
        self.events.guest(self.uri, f"uuid-{name}", name, what)

    def lose(self) -> None:
        assert self.events
        self.unreachable = "Broken pipe"
        self.events.closed(self.uri)

    def obey(self, name: str) -> None:
        if self.ends:
            self.ends(self, name)
        else:
            self.end(name, "clean")

    async def ask(self, guest: Facts, way: str) -> None:
        act = self._request(guest, way)
        if (way == "agent" and act.agent == "hangs") or act.ask == "hangs":
            await asyncio.Event().wait()
        if (way == "agent" and act.agent == "fails") or act.ask:
            raise LibvirtError(act.ask or "guest agent is not responding")
        self.pressed[guest.name] = self.pressed.get(guest.name, 0) + 1
        if way == "agent" or self.pressed[guest.name] == act.presses:
            asyncio.get_running_loop().call_later(0.01, self.obey, guest.name)

    async def resume(self, guest: Facts) -> None:
        self._request(guest, "resume")

    async def end_at_poweroff(self, guest: Facts) -> None:
        self._request(guest, "ends at poweroff")
        if self.acts[guest.name].lifecycle:
            raise LibvirtError(self.acts[guest.name].lifecycle)

    async def job(self, guest: Facts) -> str:
        jobs = self.acts[guest.name].jobs
        return jobs.pop(0) if len(jobs) > 1 else jobs[0]

    async def abort_job(self, guest: Facts) -> None:
        self._request(guest, "abort job")
        self.acts[guest.name].jobs[:] = [""]

    async def cancel_jobs(self, guest: Facts) -> str:
        if self.acts[guest.name].in_the_way:
            self._request(guest, "cancel jobs")
        cancelled, self.acts[guest.name].in_the_way = self.acts[guest.name].in_the_way, ""
        return cancelled

    async def wake(self, guest: Facts) -> None:
        self._request(guest, "wake")

    async def save(self, guest: Facts, bypass_cache: bool, seconds: float) -> None:
        act = self._request(guest, "save bypass" if bypass_cache else "save")
        if act.save or act.in_the_way:
            raise LibvirtError(act.save or "domain has active block job")
        self.end(guest.name, "saved")

    async def destroy(self, guest: Facts, graceful: bool) -> None:
        act = self._request(guest, "SIGTERM" if graceful else "SIGKILL")
        if act.destroy and (graceful or act.destroy != "SIGTERM"):
            raise LibvirtError(act.destroy)
        self.end(guest.name, "destroyed")

    async def start(self, guest: Facts, paused: bool, bypass_cache: bool) -> str:
        self.log.append((guest.name, "start paused" if paused else "start"))
        if guest.name not in self.acts:
            raise LibvirtError("Domain not found")
        if self.acts[guest.name].ask:
            raise LibvirtError(self.acts[guest.name].ask)
        if guest.name in self.up:
            return "running"
        self.up.add(guest.name)
        return "started"

    async def ping(self, guest: Facts) -> None:
        self._request(guest, "ping")

    async def execute(self, guest: Facts, command: tuple[str, ...], seconds: float) -> tuple[int, str]:
        self._request(guest, " ".join(command))
        if command[0] == "hang":
            await asyncio.wait_for(asyncio.Event().wait(), seconds)
        return int(command[1]), "said\nmore"

    async def sync_time(self, guest: Facts) -> None:
        self._request(guest, "sync_time")


@dataclass
class Played:
    code: int
    session: FakeSession
    said: str
    record: dict[str, Any]

    @property
    def verdicts(self) -> dict[str, str]:
        return {guest["name"]: guest["verdict"] for guest in self.record["guests"]}

    @property
    def details(self) -> str:
        return " ".join(guest["detail"] for guest in self.record["guests"])

    def asked(self, name: str) -> list[str]:
        return [what for who, what in self.session.log if who == name]


QUICK = {"timeout": 0.3, "resend": 0.1, "budget": 5, "on_timeout": ["leave"]}
PATIENT = {"timeout": 5, "budget": 15}  # where every guest reacts at last, however busy the machine is


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Played]:
    """Return a function that stops fake guests under a policy and returns what became of them.

    Fake guests need no time: only where a test has real processes does the clock go as it does.
    """
    monkeypatch.setattr(keeping, "Calls", clock.AtOnce)

    def play(
        acts: dict[str, Act],
        rules: Mapping[str, Any] | None = None,
        also: tuple[FakeSession, ...] = (),
        root: Path | None = None,
        patience: float = 3.0,
        **session: Any,
    ) -> Played:
        fake, stream = FakeSession(acts, **session), io.StringIO()
        reacts = all(each.presses > 0 for each in acts.values())
        rule = policy.compile_policy({**QUICK, **(PATIENT if reacts else {}), **(rules or {})})
        assert rule.complaints == ()

        async def run() -> int:
            report = Report(stream, prefix=True)
            keeper = Keeper(History(tmp_path), Record(started="now"), report)
            local = frozenset({fake.uri}) if root else frozenset()
            stop = Stop(rule, [fake, *also], keeper, report, Notifier(), False, local, 0.5, root or tmp_path, 0.2)
            stop.patience = patience
            return await stop.run()

        code = clock.run(asyncio.wait_for(run(), 60))
        newest = sorted(tmp_path.glob("history/*.json"))[-1]
        return Played(code, fake, stream.getvalue(), json.loads(newest.read_text()))

    return play


@pytest.fixture(autouse=True)
def _no_watchdog_stays() -> Iterator[None]:
    """A watchdog that a test armed in this process would end all tests, some seconds later and without a word."""
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def calls() -> type[Calls]:
    return Calls


@pytest.fixture
def act() -> type[Act]:
    return Act


@pytest.fixture
def fake() -> type[FakeSession]:
    return FakeSession
