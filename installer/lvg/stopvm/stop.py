"""`stopvm stop`: all guests of all URIs at once, driven by events, within the time there is."""

import asyncio
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import anew, decide, summary, timing, whoruns
from .calls import Calls
from .decide import Facts
from .ending import ROOT
from .guest import GuestStop
from .inorder import InOrder
from .keeper import Keeper
from .notify import EXTEND_BY, EXTEND_EVERY, Notifier
from .opening import Opening, Reached
from .policy import Policy
from .reconnect import Reconnect
from .report import Report
from .rescue import Rescue
from .saving import Saves
from .selection import EVERYTHING, Selection
from .session import Events, Session
from .verdict import Verdict


@dataclass(eq=False, repr=False)
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
    selection: Selection = EVERYTHING
    calls: Calls = field(default_factory=Calls)
    patience: float = 3.0  # seconds that guests at one URI wait for the answers of the others
    _guests: dict[tuple[str, str], GuestStop] = field(default_factory=dict)
    _left_out: list[Facts] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)  # URIs whose guests we know
    _early: list[tuple[str, str, str, str]] = field(default_factory=list)  # news that came before we knew the guest
    _closed: set[str] = field(default_factory=set)  # URIs whose connection went before we knew their guests
    _reconnects: set["asyncio.Task[None]"] = field(default_factory=set)
    _begin: float = 0.0
    _end: float = 0.0

    async def run(self) -> int:
        """Stop all guests and return the exit code."""
        loop = asyncio.get_running_loop()
        for why in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(why, self.keeper.give_up, why.name)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost terminal is no reason to leave guests half asked
        self._begin = anew.begin(loop.time(), self.policy.budget)
        self._end = self._begin + self.policy.budget
        ticker = asyncio.ensure_future(self._tick())
        try:
            return await self._run()
        finally:
            ticker.cancel()
            for task in self._reconnects:
                task.cancel()

    async def _run(self) -> int:
        opening = Opening(self._events, self._rescue, self.report, self._closed, self.patience)
        slots = asyncio.Semaphore(self.policy.parallel) if self.policy.parallel else None
        saves, rounds = Saves(self.root, self.local), []
        async for found in opening.batches(self.sessions, self.policy.uris):
            earlier = list(self._guests.values())
            new = self._know(found, saves)
            rounds.append(asyncio.ensure_future(self._round(earlier, new, slots)))
        if left := opening.left():
            self.keeper.fill((), left)
        await asyncio.gather(*rounds)
        verdicts = [(entry.verdict, entry.wanted) for entry in self.keeper.record.guests]
        code = decide.exit_code(verdicts, bool(opening.unreachable))
        running = [*self._facts(), *self._left_out]
        if await whoruns.say_unmatched(self.selection, running, self.sessions, self.report):
            code = max(code, 2)  # somebody believes that a guest was stopped, or spared
        await self.keeper.end(code)
        say = self.report.info if code < 2 else self.report.err
        say(summary.closing_line(self.keeper.record.guests, bool(opening.unreachable), len(self._left_out)))
        return code

    async def _round(
        self, earlier: Sequence[GuestStop], guests: Sequence[GuestStop], slots: asyncio.Semaphore | None
    ) -> None:
        """Stop the guests that became known together; the record has them before the first of them is asked."""
        self.keeper.fill([guest.facts for guest in guests], left_out=self._left_out)
        await self.keeper.begin()
        begin = asyncio.get_running_loop().time()
        for line in summary.opening_lines([(guest.asked_as, guest.policy) for guest in guests], self._end - begin):
            self.report.info(line)
        for line in whoruns.left_out_lines(self.policy, self.selection, [*self._facts(), *self._left_out]):
            self.report.warning(line)
        self._hear_early()
        self._status()
        say, room = self.report, self.calls.room
        await InOrder(guests, earlier, slots, begin, self._end, self.least_save, say, self._verdict, room).run()

    def _hear_early(self) -> None:
        """Hear what came of guests before they were known; news of those that are still unknown has to wait."""
        early, self._early = self._early, []
        for news in early:
            self._on_guest(*news)
        closed = self._closed & self._known
        self._closed -= closed
        for uri in closed:
            self._on_closed(uri)

    def _facts(self) -> list[Facts]:
        return [guest.facts for guest in self._guests.values()]

    @property
    def _events(self) -> Events:
        return Events(self._on_guest, self._on_closed)

    @property
    def _rescue(self) -> Rescue:
        return Rescue(self.local, self.host_goes_down, self.report, self.root, self.selection.takes)

    def _know(self, found: Iterable[Reached], saves: Saves) -> list[GuestStop]:
        """Take in who runs at some URIs; return the guests to stop."""
        before = len(self._guests)
        for reached in found:
            self._known.add(reached.session.uri)
            self._left_out += [facts for facts in reached.guests if not self.selection.takes(facts.name)]
            for facts in [facts for facts in reached.guests if self.selection.takes(facts.name)]:
                guest = GuestStop(facts, self.policy.for_guest(facts.name), reached.session, saves)
                if reached.by_qemu:
                    guest.go_on_without_libvirt(reached.session)
                self._guests[guest.key] = guest
        self._end = self._begin + timing.work_seconds(self.policy, len(self._guests), self.host_goes_down)
        return list(self._guests.values())[before:]

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
        elif uri not in self._known:
            self._early.append((uri, uuid, name, what))
        elif what == "started" and self.selection.takes(name):
            self.report.warning(f"{name} was started during the stop; it is left to libvirt-guests")

    def _on_closed(self, uri: str) -> None:
        """Take the loss of a connection. After the last guest it is no error: systemd may stop libvirtd then."""
        if uri not in self._known:
            self._closed.add(uri)
        guests = [guest for guest in self._guests.values() if guest.facts.uri == uri and not guest.by_qemu]
        if any(not guest.settled.is_set() for guest in guests):
            session = next(session for session in self.sessions if session.uri == uri)
            root = self.root if uri in self.local else None
            lost = Reconnect(
                session, guests, self._events, self.report, root, self.grace, self._rescue, self._begin_anew
            )
            self._reconnects.add(asyncio.ensure_future(lost.run()))

    def _begin_anew(self) -> None:
        """Have a new stop take the place of this one; what this one did is on record."""
        self.report.err("the libvirt daemon fell silent: this stop begins anew, without what waits for it")
        self.keeper.save_now()
        try:
            anew.take_place(self._begin, self.notifier.environment())
        except OSError as error:
            self.report.err(f"it cannot: {error}")

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
