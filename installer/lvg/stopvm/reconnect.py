"""A connection that went while guests were on their way down: get it back, and look after the guests meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .calls import CallTimeoutError
from .ending import left_behind
from .guest import GuestStop
from .report import Report
from .rescue import Rescue
from .session import Events, LibvirtError, Session
from .watch import process_end

_RECONNECT_EVERY = 2.0  # seconds
_JUDGED_WITHIN = 0.5  # seconds, on top of `grace`


@dataclass(eq=False, repr=False)
class Reconnect:
    """One lost connection and its guests.

    `root`: of this host's files, None if the guests run elsewhere. `grace`: seconds that libvirtd, if it still works,
    has after the end of a process to write the guest's log and to tell us.

    Where virt-guest-shutdown.target does not hold it, systemd stops libvirtd as soon as the last guest's process is
    gone, and libvirt 11.3 may crash in that moment: the news of that guest's end then never comes.
    """

    session: Session
    guests: Sequence[GuestStop]
    events: Events
    report: Report
    root: Path | None
    grace: float
    rescue: Rescue
    begin_anew: Callable[[], None]

    async def run(self) -> None:
        """Return when there is a connection again, be it to QEMU itself, or nothing left to wait for.

        Without either, a guest is left at its deadline.
        """
        followers = [asyncio.ensure_future(self._follow(guest, self.root)) for guest in self.guests if self.root]
        try:
            for guest in self.guests:
                guest.requests.lose()
                guest.ending.adrift = self.grace + _JUDGED_WITHIN
            await asyncio.sleep(self.grace + _JUDGED_WITHIN)
            if not all(guest.gone for guest in self.guests):
                await self._reconnect()
        finally:
            for follower in followers:
                follower.cancel()

    async def _follow(self, guest: GuestStop, root: Path | None) -> None:
        if root is None or not await process_end(guest.facts.name, root):
            return
        said = left_behind(guest.facts.name, guest.ending.save_asked, root)
        if not said and not guest.ending.finished:
            await asyncio.sleep(self.grace)
            said = left_behind(guest.facts.name, guest.ending.save_asked, root)
        guest.ending.judge(said)

    async def _reconnect(self) -> None:
        self.report.err(f"the connection to libvirt at {self.session.uri} was lost while guests were stopping")
        clock = asyncio.get_running_loop().time
        since = clock()
        while not all(guest.settled.is_set() for guest in self.guests):
            try:
                await self.session.open(self.events)
                running = {facts.uuid for facts in await self.session.running()}
                for guest in self.guests:
                    if guest.facts.uuid not in running and not guest.gone:
                        guest.ending.judge(await self._account(guest))
                    guest.ending.adrift = 0.0
                    guest.requests.reach(self.session)
            except (LibvirtError, CallTimeoutError) as error:
                step = await self.rescue.attempt(self.session.uri, error, clock() - since, lost=True)
                if step == "talk":
                    await self._talk()
                    return
                if step == "anew":
                    self.begin_anew()
                await asyncio.sleep(_RECONNECT_EVERY)
                continue
            return

    async def _talk(self) -> None:
        """Go on with QEMU itself, and return when all guests have a verdict.

        What was asked before need not be asked again: a guest that has shut down meanwhile is found as such.
        """
        from .qmpsession import QmpSession  # noqa: PLC0415  # hardly ever needed

        self.report.err(f"the guests at {self.session.uri} are stopped without libvirt: QEMU itself is asked")
        names = {guest.facts.name for guest in self.guests if not guest.settled.is_set()}
        session = QmpSession(self.session.uri, self.rescue.root, names.__contains__)
        await session.open(self.events)
        await session.running()
        for guest in self.guests:
            guest.ending.adrift = 0.0
            guest.go_on_without_libvirt(session)
        await asyncio.gather(*(guest.settled.wait() for guest in self.guests))

    async def _account(self, guest: GuestStop) -> str:
        said = await self.session.how_ended(guest.facts)
        if self.root and said in ("", "lost"):
            said = left_behind(guest.facts.name, guest.ending.save_asked, self.root) or said
        return said
