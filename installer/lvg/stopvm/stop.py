"""`stopvm stop`: all guests of all URIs at once, driven by events, within the time there is."""

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import decide, hostdown, summary, timing
from .calls import CallTimeoutError
from .decide import Facts
from .ending import ROOT
from .guest import GuestStop
from .inorder import InOrder
from .keeper import Keeper
from .notify import EXTEND_BY, EXTEND_EVERY, Notifier
from .policy import Policy
from .reconnect import Reconnect
from .report import Report
from .saving import Saves
from .session import Events, LibvirtError, Session
from .verdict import Verdict


@dataclass
class Stop:
    """One stop of all guests. `host_goes_down`: libvirt-guests and systemd's own limit come after us."""

    policy: Policy
    sessions: Sequence[Session]
    keeper: Keeper
    report: Report
    notifier: Notifier
    host_goes_down: bool = False
    local: frozenset[str] = frozenset()  # URIs whose guests are processes of this host
    least_save: float = 30.0
    root: Path = ROOT
    grace: float = 1.5  # seconds that libvirt's last words may come after the end of the connection
    _guests: dict[tuple[str, str], GuestStop] = field(default_factory=dict)
    _early: list[tuple[str, str, str, str]] = field(default_factory=list)  # news that came before we knew the guest
    _real: set[str] = field(default_factory=set)
    _unreachable: list[str] = field(default_factory=list)
    _reconnects: set["asyncio.Task[None]"] = field(default_factory=set)
    _end: float = 0.0

    async def run(self) -> int:
        """Stop all guests and return the exit code."""
        loop = asyncio.get_running_loop()
        for why in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(why, self.keeper.give_up, why.name)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost terminal is no reason to leave guests half asked
        self._end = loop.time() + self.policy.budget
        ticker = asyncio.ensure_future(self._tick())
        try:
            return await self._run()
        finally:
            ticker.cancel()
            for task in self._reconnects:
                task.cancel()

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        found = [facts for some in await asyncio.gather(*map(self._open, self.sessions)) for facts in some]
        self._unreachable += [] if self.sessions else self.policy.uris  # libvirt's Python module is missing
        self._end = loop.time() + timing.work_seconds(self.policy, len(found), self.host_goes_down)
        saves = Saves(self.root, self.local)
        sessions = {session.uri: session for session in self.sessions}
        for facts in found:
            guest = GuestStop(facts, self.policy.for_guest(facts.name), sessions[facts.uri], saves)
            self._guests[facts.uri, facts.uuid] = guest
        self.keeper.fill((guest.facts for guest in self._guests.values()), self._out_of_reach())
        await self.keeper.begin()
        who = [(guest.facts, guest.policy) for guest in self._guests.values()]
        for line in summary.opening_lines(who, self._end - loop.time()):
            self.report.info(line)
        early, self._early = self._early, []
        for news in early:
            self._on_guest(*news)
        self._status()
        guests, begin = list(self._guests.values()), loop.time()
        await InOrder(guests, self.policy.parallel, begin, self._end, self.least_save, self.report, self._verdict).run()
        verdicts = [(entry.verdict, entry.wanted) for entry in self.keeper.record.guests]
        code = decide.exit_code(verdicts, bool(self._unreachable))
        await self.keeper.end(code)
        say = self.report.info if code < 2 else self.report.err
        say(summary.closing_line(self.keeper.record.guests, bool(self._unreachable)))
        return code

    async def _open(self, session: Session) -> list[Facts]:
        """Connect to one URI and return its guests; a URI that cannot be reached stops no other one."""
        try:
            await session.open(Events(self._on_guest, self._on_closed))
            if session.real in self._real:
                self.report.info(f"{session.uri} is {session.real} again: its guests are asked once")
                return []
            self._real.add(session.real)
            return await session.running()
        except (LibvirtError, CallTimeoutError) as error:
            self._unreachable.append(session.uri)
            self.report.err(f"libvirt at {session.uri} is out of reach: {error}")
            return []

    def _out_of_reach(self) -> list[Facts]:
        """Return the guests that run on this host but cannot be asked through libvirt; only their names are known.

        This is the other place for talking to QEMU itself.
        """
        found = []
        for uri in self.local.intersection(self._unreachable):
            found += [Facts("", name, uri) for name in hostdown.local_guests()]
        if found:
            self.report.err(f"left to libvirt-guests: {', '.join(facts.name for facts in found)}")
        return found

    def _verdict(self, guest: GuestStop, verdict: Verdict, note: str) -> None:
        detail = "; ".join(text for text in (verdict.detail, note) if text)
        self.keeper.verdict(guest.facts, verdict, detail)
        how = f" ({verdict.method})" if verdict.verdict == "clean" and verdict.method else ""
        line = f"{guest.facts.name}: {verdict.verdict} after {verdict.seconds:.1f} s{how}"
        if verdict.wanted and verdict.verdict != "left":
            self.report.info(line)
        else:
            say = self.report.info if verdict.wanted else self.report.err
            say(f"{line}{f': {detail}' if detail else ''}")

    def _on_guest(self, uri: str, uuid: str, name: str, what: str) -> None:
        if guest := self._guests.get((uri, uuid)):
            guest.ending.hear(what)
        elif not self._guests:
            self._early.append((uri, uuid, name, what))
        elif what == "started":
            self.report.warning(f"{name} was started during the stop; it is left to libvirt-guests")

    def _on_closed(self, uri: str) -> None:
        """Take the loss of a connection. After the last guest it is no error: systemd stops libvirtd then."""
        guests = [guest for guest in self._guests.values() if guest.facts.uri == uri]
        if any(not guest.settled.is_set() for guest in guests):
            session = next(session for session in self.sessions if session.uri == uri)
            events, root = Events(self._on_guest, self._on_closed), self.root if uri in self.local else None
            lost = Reconnect(session, guests, events, self.report, root, self.grace)
            self._reconnects.add(asyncio.ensure_future(lost.run()))

    async def _tick(self) -> None:
        """Ask systemd for time and write down what is known, from the loop that does the work."""
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() < self._end + self.least_save + EXTEND_BY:
                self.notifier.extend()
            self._status()
            for _ in range(3):
                await asyncio.sleep(EXTEND_EVERY / 3)
                await self.keeper.save()

    def _status(self) -> None:
        left = [guest.facts.name for guest in self._guests.values() if not guest.settled.is_set()]
        seconds = max(self._end - asyncio.get_running_loop().time(), 0)
        names = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
        text = f"{len(left)} of {len(self._guests)} guests still to stop, at most {seconds:.0f} s more: {names}"
        self.notifier.status(text if left else "all guests have a verdict")
