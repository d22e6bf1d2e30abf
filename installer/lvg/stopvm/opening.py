"""The beginning of a stop: who runs at each URI, and by what they can be reached."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from . import hostdown
from .calls import CallTimeoutError
from .decide import Facts
from .report import Report
from .rescue import Rescue
from .session import Events, LibvirtError, Session

_AGAIN_AFTER = 1.0  # seconds
_PATIENCE = 3.0  # seconds that guests at one URI wait for the answers of the others


class Reached(NamedTuple):
    """The guests of one URI. `by_qemu`: libvirt is not there, and `session` talks to QEMU itself."""

    session: Session
    guests: list[Facts]
    by_qemu: bool = False


@dataclass(eq=False, repr=False)
class Opening:
    """Opens all connections at once; a URI that cannot be reached stops no other one."""

    events: Events
    rescue: Rescue
    report: Report
    closed: set[str]  # URIs whose connection went; it may be opened again
    patience: float = _PATIENCE
    unreachable: list[str] = field(default_factory=list)
    _real: set[str] = field(default_factory=set)

    async def open(self, session: Session) -> Reached:
        """Connect to one URI and return its guests, none if it is out of reach."""
        clock = asyncio.get_running_loop().time
        since, said = clock(), False
        while True:
            self.closed.discard(session.uri)
            try:
                return Reached(session, await self._guests(session))
            except (LibvirtError, CallTimeoutError) as error:
                if not said:
                    self.report.err(f"libvirt at {session.uri} is out of reach: {error}")
                said = True
                step = await self.rescue.attempt(session.uri, error, clock() - since)
            if step == "talk":
                return await self._talk(session.uri)
            if step == "leave":
                self.unreachable.append(session.uri)
                return Reached(session, [])
            await asyncio.sleep(_AGAIN_AFTER)

    async def _talk(self, uri: str) -> Reached:
        """Return the guests of a URI by QEMU's monitors."""
        from .qmpsession import QmpSession  # noqa: PLC0415  # hardly ever needed

        self.report.err(f"the guests at {uri} are stopped without libvirt: QEMU itself is asked")
        session = QmpSession(uri, self.rescue.root, self.rescue.takes)
        return Reached(session, await self._guests(session), by_qemu=True)

    async def batches(self, sessions: Sequence[Session], uris: Iterable[str]) -> AsyncIterator[list[Reached]]:
        """Open all sessions at once; yield those that answer in time together, then each one that is late.

        Nothing is yielded before one of them has answered: a record without its guests would hide that they ran.
        `uris`: what there should be sessions for; without libvirt's module is none.
        """
        if not sessions:
            yield await self._without_libvirt(uris)
            return
        tasks = [asyncio.ensure_future(self.open(session)) for session in sessions]
        try:
            await asyncio.wait(tasks, timeout=self.patience)
            while tasks:
                done = [task for task in tasks if task.done()]
                tasks = [task for task in tasks if not task.done()]
                if done:
                    yield [task.result() for task in done]
                if tasks:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _without_libvirt(self, uris: Iterable[str]) -> list[Reached]:
        found = []
        for uri in dict.fromkeys(uris):
            if await self.rescue.attempt(uri, LibvirtError("no libvirt module"), float("inf")) == "talk":
                found.append(await self._talk(uri))
            else:
                self.unreachable.append(uri)
        return found

    async def _guests(self, session: Session) -> list[Facts]:
        await session.open(self.events)
        if session.real in self._real:
            self.report.info(f"{session.uri} is {session.real} again: its guests are asked once")
            return []
        self._real.add(session.real)
        try:
            return await session.running()
        except (LibvirtError, CallTimeoutError):
            self._real.discard(session.real)
            raise

    def left(self) -> list[Facts]:
        """Return the guests that run on this host and cannot be reached; only their names are known."""
        uris = self.rescue.local.intersection(self.unreachable)
        names = [name for name in hostdown.local_guests(self.rescue.root) if self.rescue.takes(name)]
        found = [Facts("", name, uri) for uri in uris for name in names]
        if found:
            self.report.err(f"left to libvirt-guests: {', '.join(facts.name for facts in found)}")
        return found
