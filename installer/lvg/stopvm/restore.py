"""`stopvm restore`: bring back what ran at the last stop, once, in an order that others can rely on."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import history, order
from .calls import CallTimeoutError
from .decide import Facts
from .history import Entry, History, Record
from .notify import Notifier
from .policy import Policy
from .report import Report
from .session import Events, LibvirtError, Session
from .verdict import MOVED

_RETRY_EVERY = 2.0  # seconds


@dataclass
class Restore:
    """One restore from one record, which is written again after each guest, so that an end at any time is no harm."""

    policy: Policy
    sessions: Sequence[Session]
    store: History
    path: Path
    record: Record
    report: Report
    notifier: Notifier
    reach_within: float = 90.0  # seconds that libvirt has to come up
    agent_within: float = 120.0  # seconds that a guest's agent has to come up
    _agents: dict[str, asyncio.Event] = field(default_factory=dict)
    _failed: int = 0

    async def run(self) -> int:
        """Bring the guests back and return the exit code: 0, 1 some failed, 3 libvirt out of reach."""
        loop = asyncio.get_running_loop()
        for why in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(why, self._give_up, why.name)
        todo = start_order(self.policy, self.record.pending())
        reached = {uri: await self._reach(uri) for uri in dict.fromkeys(entry.uri for entry in todo)}
        for number, entry in enumerate(todo, start=1):
            session = reached[entry.uri]
            if session is None:
                continue
            self.notifier.status(f"bringing back {entry.name}, {number} of {len(todo)}")
            await self._bring_back(session, entry, last=number == len(todo))
        if all(reached.values()):
            self.record.restored = history.now()
            self._write()
            self.notifier.status(f"{len(todo)} guests dealt with, {self._failed} failed")
            return 1 if self._failed else 0
        return 3

    async def _reach(self, uri: str) -> Session | None:
        """Connect; at boot libvirt may need a moment."""
        session = next((session for session in self.sessions if session.uri == uri), None)
        if session is None:
            self.report.err(f"guests of {uri} are not brought back: no such URI any more")
            return None
        clock = asyncio.get_running_loop().time
        end = clock() + self.reach_within
        while True:
            try:
                await session.open(Events(self._on_guest, lambda _: None))
                return session
            except (LibvirtError, CallTimeoutError) as error:
                if clock() >= end:
                    self.report.err(f"libvirt at {uri} is out of reach, nothing is brought back there: {error}")
                    return None
            await asyncio.sleep(_RETRY_EVERY)

    def _on_guest(self, _uri: str, uuid: str, _name: str, what: str) -> None:
        if what == "agent":
            self._agents.setdefault(uuid, asyncio.Event()).set()

    async def _bring_back(self, session: Session, entry: Entry, last: bool) -> None:
        """Start one guest and wait as the policy says; one that fails is reported and passed over."""
        facts, rules = Facts(entry.uuid, entry.name, entry.uri), self.policy.for_guest(entry.name)
        paused = entry.state == "paused"
        try:
            came = await session.start(facts, paused, rules.bypass_cache)
        except (LibvirtError, CallTimeoutError) as error:
            self._failed += 1
            self._mark(entry, f"failed: {error}")
            hint = f" (its saved memory is kept; `virsh managedsave-remove {entry.name}` drops it)"
            self.report.err(f"{entry.name} is not back: {error}{hint if entry.verdict == 'saved' else ''}")
            return
        self._mark(entry, came)
        self.report.info(f"{entry.name}: {came}{', paused as it was' if paused else ''}")
        if came == "running":
            return
        if rules.wait_for == "agent" and not paused:
            await self._wait_for_agent(session, facts)
        if came == "resumed" and rules.sync_time and not paused:
            try:
                await session.sync_time(facts)
            except (LibvirtError, CallTimeoutError) as error:
                self.report.warning(f"{entry.name}: its clock cannot be set: {error}")
        if not last:
            await asyncio.sleep(rules.start_delay)

    async def _wait_for_agent(self, session: Session, facts: Facts) -> None:
        try:
            await asyncio.wait_for(self._agents.setdefault(facts.uuid, asyncio.Event()).wait(), self.agent_within)
            await session.ping(facts)
        except (TimeoutError, LibvirtError, CallTimeoutError):
            self.report.warning(f"{facts.name}: its agent did not come up within {self.agent_within:.0f} s; going on")

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
        names = [entry.name for entry in self.record.pending()]
        with suppress(OSError):
            self.report.warning(f"{why}: not yet brought back, next time then: {', '.join(names) or 'none'}")
        os._exit(0)


def start_order(policy: Policy, pending: Sequence[Entry]) -> list[Entry]:
    """Return the guests to start, those first that others need."""
    names = [entry.name for entry in pending]
    needs = {name: policy.for_guest(name).needs for name in names}
    waves = order.waves(order.dependants(names, needs)[0])
    return sorted(pending, key=lambda entry: -waves[entry.name])


def same_boot(record: Record, this_boot: str) -> bool:
    """True if the record is surely of this boot; an unknown boot id is another boot's."""
    return bool(this_boot) and record.boot_id == this_boot


def settle(record: Record, this_boot: str, report: Report) -> None:
    """Deal with what cannot be brought back: give verdicts to guests that have none, pass over the rest."""
    for entry in record.guests:
        if not entry.verdict and not same_boot(record, this_boot):
            entry.verdict, entry.wanted, entry.detail = "lost", False, "lost power"
            report.err(f"{entry.name} lost power, unless libvirt-guests stopped it: its stop was cut short")
    for entry in record.pending():
        if entry.method == MOVED:
            entry.restored = "moved"
        elif not entry.persistent:
            entry.restored = "failed: it was transient"
            report.warning(f"{entry.name} is not brought back: it was transient, libvirt forgot it")


def whether(policy: Policy, record: Record, this_boot: str, by_hand: bool) -> str:
    """Return "restore", "ignore" (this boot is over with the record) or "keep" (a boot to come may need it)."""
    if by_hand:
        return "restore"
    if record.kind == "now" and same_boot(record, this_boot):
        return "keep"  # stopped by hand in this boot: on purpose
    return "restore" if policy.boot == "restore" else "ignore"
