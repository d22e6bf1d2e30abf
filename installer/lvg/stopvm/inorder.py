"""All guests of a stop in their order: wave after wave, so many at once, and in time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from . import order, timing
from .guest import GuestStop
from .report import Report
from .timing import Saving
from .verdict import Time, Verdict

_AT_ONCE = 16  # guests that begin before it is asked whether there is room for more
_ROOM_WITHIN = 1.0  # seconds; calls to libvirt that take so long need not be saved any memory


@dataclass(eq=False, repr=False)
class InOrder:
    """One round through `guests`. `begin` and `end`: on the loop's clock; `verdict` is told what became of each.

    `earlier` are guests of earlier rounds, which may still be on their way down. `slots` are shared by all rounds.
    `room` returns when a request can be made at once.
    """

    guests: Sequence[GuestStop]
    earlier: Sequence[GuestStop]
    slots: asyncio.Semaphore | None  # None: all at once
    begin: float
    end: float
    least_save: float
    report: Report
    verdict: Callable[[GuestStop, Verdict, str], None]
    room: Callable[[], Awaitable[None]]

    async def run(self) -> None:
        """Stop the guests; returns when each has its verdict."""
        known = [*self.earlier, *self.guests]
        needs = {guest.facts.name: guest.policy.needs for guest in known if guest.policy.needs}
        after, wrong = order.dependants([guest.facts.name for guest in known], needs)
        for text in wrong:
            self.report.err(text)
        self._say_what_is_too_late(after)
        waves = order.waves(after)
        by_name: dict[str, list[GuestStop]] = {}
        for guest in known:
            by_name.setdefault(guest.facts.name, []).append(guest)
        last = max(waves.values(), default=0) + 1
        clock = asyncio.ensure_future(self._cut_short(waves))
        jobs, free = [], True
        try:
            for number, guest in enumerate(self.guests, 1):
                share = timing.wave_share(waves[guest.facts.name], last)
                time = Time(self.begin + (self.end - self.begin) * share, self.end, self.least_save)
                first = [other for name in after[guest.facts.name] for other in by_name[name]]
                jobs.append(asyncio.ensure_future(self._one(guest, first, time)))
                free = free and (number % _AT_ONCE > 0 or await self._has_room())
            await asyncio.gather(*jobs)
        finally:
            clock.cancel()

    async def _has_room(self) -> bool:
        """Let guests begin to ask, and return when one more can; False if that is not soon, then all may begin.

        Of 10,000 guests that all wait for their first request each takes several times the memory that it needs later.
        """
        try:
            async with asyncio.timeout(_ROOM_WITHIN):
                await asyncio.sleep(0)
                await self.room()
        except TimeoutError:
            return False
        return True

    def _say_what_is_too_late(self, after: Mapping[str, frozenset[str]]) -> None:
        for early in self.earlier:
            for name in sorted(after[early.facts.name].intersection(guest.facts.name for guest in self.guests)):
                self.report.warning(f"{name} needs {early.facts.name}, which was asked before libvirt told of {name}")

    async def _one(self, guest: GuestStop, first: Sequence[GuestStop], time: Time) -> None:
        """Stop a guest once those that need it have their verdict, or time runs short."""
        for other in first:
            await _either(other.settled.wait(), guest.ending.hurry_up.wait())
        up = sorted(other.facts.name for other in first if not other.gone)
        if up:
            self.report.warning(f"{guest.facts.name} is stopped although {', '.join(up)} still runs and needs it")
        async with _slot(self.slots, guest):
            verdict = await guest.stop(time, self.report)
        self.verdict(guest, verdict, f"still needed by {', '.join(up)}" if up else "")
        guest.settled.set()

    async def _cut_short(self, waves: dict[str, int]) -> None:
        """Tell guests that they have no more time, each when its save has to begin."""
        clock = asyncio.get_running_loop().time
        by_key = {guest.key: guest for guest in self.guests}
        while True:
            able = [guest for guest in self.guests if guest.may_be_cut_short]
            saves = [Saving(guest.key, waves[guest.facts.name], guest.save_seconds) for guest in able]
            starts = timing.save_starts(saves, self.begin, self.end)
            for key in [key for key, start in starts.items() if start <= clock()]:
                by_key[key].ending.hurry()
            later = [start for start in starts.values() if start > clock()]
            if not later:
                return
            await asyncio.sleep(min(later) - clock())


@asynccontextmanager
async def _slot(slots: asyncio.Semaphore | None, guest: GuestStop) -> AsyncIterator[None]:
    """Hold one of so many slots; a guest whose time is up does not wait for one."""
    if slots is None:
        yield
        return
    acquired = await _either(slots.acquire(), guest.ending.hurry_up.wait())
    try:
        yield
    finally:
        if acquired:
            slots.release()


async def _either(first: Coroutine[Any, Any, bool], second: Coroutine[Any, Any, bool]) -> bool:
    """Wait for one of two; True if it is the first."""
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
