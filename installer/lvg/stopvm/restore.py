"""`stopvm restore`: bring back what ran at the last stop, once, in an order that others can rely on."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import history
from .calls import CallTimeoutError
from .decide import Facts
from .history import Entry, History, Record
from .links import Links
from .notify import Notifier
from .policy import GuestPolicy, Policy
from .report import Report
from .session import LibvirtError, NoAgentError, Session
from .settle import needed, start_order


@dataclass
class Restore:
    """One restore from one record, which is written again after each guest, so that an end at any time is no harm.

    It is about those guests of the record that are `chosen`, by default about all that are not yet back. Guests are
    started in turn, `start_delay` apart. One that needs others waits until those are up; nobody else waits for them.
    """

    policy: Policy
    sessions: Sequence[Session]
    store: History
    path: Path
    record: Record
    report: Report
    notifier: Notifier
    chosen: Sequence[Entry] | None = None
    reach_within: float = 90.0  # seconds that libvirt has to come up
    agent_within: float = 120.0  # seconds that a guest's agent has to come up
    turn_within: float = 15.0  # seconds after which a start that is not through holds up no other one
    _todo: Sequence[Entry] = ()
    _up: dict[str, asyncio.Event] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _next_turn: float = 0.0
    _failed: int = 0

    def __post_init__(self) -> None:
        self._links = Links(self.sessions, self.report, self.reach_within)

    async def run(self) -> int:
        """Bring the guests back and return the exit code: 0, 1 some failed, 3 libvirt out of reach."""
        loop = asyncio.get_running_loop()
        for why in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(why, self._give_up, why.name)
        todo = self._todo = start_order(self.policy, self.record.pending() if self.chosen is None else self.chosen)
        needs = needed(self.policy, [entry.name for entry in todo])
        self._up = {entry.name: asyncio.Event() for entry in todo}
        reached = {
            uri: asyncio.create_task(self._links.reach(uri)) for uri in dict.fromkeys(entry.uri for entry in todo)
        }
        going = [self._bring_back(entry, reached[entry.uri], needs[entry.name]) for entry in todo]
        for entry, error in zip(todo, await asyncio.gather(*going, return_exceptions=True), strict=True):
            if error is not None:
                self._fail(entry, repr(error))
        if any(not entry.restored for entry in todo):
            return 3
        if not self.record.restored and not self.record.pending():
            self.record.restored = history.now()
        self._write()
        self.notifier.status(f"{len(todo)} guests dealt with, {self._failed} failed")
        return 1 if self._failed else 0

    async def _bring_back(self, entry: Entry, reached: "asyncio.Task[Session | None]", needs: Sequence[str]) -> None:
        """Bring one guest back when those that it needs are up; whatever comes of it, those that need it go on."""
        try:
            for name in needs:
                await self._up[name].wait()
            session = await reached
            if session is None:
                return
            facts, rules = Facts(entry.uuid, entry.name, entry.uri), self.policy.for_guest(entry.name)
            came = await self._start_in_turn(session, entry, facts, rules)
            if came and not _stays_paused(entry, came):
                await self._settle_in(session, facts, rules, came)
        finally:
            self._up[entry.name].set()

    async def _start_in_turn(self, session: Session, entry: Entry, facts: Facts, rules: GuestPolicy) -> str:
        """Start a guest when it is its turn; the next turn comes `start_delay` later. Returns how it came, "" = not."""
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(self._next_turn - clock())
            self.notifier.status(f"bringing back {entry.name}")
            start = asyncio.create_task(self._start(session, entry, facts, rules))
            await asyncio.wait([start], timeout=self.turn_within)
            if not start.done() or start.result() not in ("", "running"):
                self._next_turn = clock() + rules.start_delay
        return await start

    async def _start(self, session: Session, entry: Entry, facts: Facts, rules: GuestPolicy) -> str:
        """Start one guest; one that fails is reported and passed over. Returns how it came, "" = not."""
        paused, opened = entry.state == "paused", self._links.opened[session.uri]
        try:
            try:
                came = await session.start(facts, paused, rules.bypass_cache)
            except (LibvirtError, CallTimeoutError):
                if not await self._links.mended(session, opened):
                    raise
                came = await session.start(facts, paused, rules.bypass_cache)
        except (LibvirtError, CallTimeoutError) as error:
            if await self._links.is_well(session):
                self._fail(entry, str(error))
            else:  # that was not its fault: it stays to be brought back
                self.report.err(f"{entry.name} is not back: {error}")
            return ""
        self._mark(entry, came)
        how = "paused as it was" if paused else "paused, since it had crashed"
        self.report.info(f"{entry.name}: {came}{f', {how}' if _stays_paused(entry, came) else ''}")
        return came

    async def _settle_in(self, session: Session, facts: Facts, rules: GuestPolicy, came: str) -> None:
        """Wait until a guest that runs is up, as the policy defines it, and set its clock."""
        if rules.wait_for == "agent":
            try:
                async with asyncio.timeout(self.agent_within):
                    await self._links.agent_answers(session, facts)
            except NoAgentError:
                self.report.warning(
                    f"{facts.name}: wait_for = agent, but it has no channel for a guest agent; going on"
                )
            except TimeoutError:
                self.report.warning(
                    f"{facts.name}: its agent did not come up within {self.agent_within:.0f} s; going on"
                )
        if came == "resumed" and rules.sync_time:
            try:
                await session.sync_time(facts)
            except (LibvirtError, CallTimeoutError) as error:
                self.report.warning(f"{facts.name}: its clock cannot be set: {error}")

    def _fail(self, entry: Entry, why: str) -> None:
        self._failed += 1
        self._mark(entry, f"failed: {why}")
        hint = f" (its saved memory is kept; `virsh managedsave-remove {entry.name}` drops it)"
        self.report.err(f"{entry.name} is not back: {why}{hint if entry.verdict == 'saved' else ''}")

    def _mark(self, entry: Entry, came: str) -> None:
        entry.restored = came
        self._write()

    def _write(self) -> None:
        try:
            self.store.write(self.path, self.record.as_json())
        except OSError as error:
            self.report.err(f"the history cannot be written: {error}")

    def _give_up(self, why: str) -> None:
        """End at once. Each guest was marked when it was back; the others go into the record of the next stop."""
        names = [entry.name for entry in self._todo if not entry.restored]
        with suppress(OSError):
            self.report.warning(f"{why}: not yet brought back, next time then: {', '.join(names) or 'none'}")
        os._exit(0)


def _stays_paused(entry: Entry, came: str) -> bool:
    """True if a guest that came back does not run on: libvirt leaves one paused that was saved after a crash."""
    return (entry.state == "paused" and came != "running") or (entry.state == "crashed" and came == "resumed")
