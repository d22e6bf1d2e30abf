"""What is asked of one guest: every request has a deadline, and what it fails with is noted, never raised."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from .calls import CallTimeoutError
from .decide import Facts
from .ending import Ending
from .flag import Flag
from .report import Report
from .session import LibvirtError, Session

ANSWER_WITHIN = 25.0  # seconds for a request, on top of the session's own limits


class Requests:
    """The way to one guest. `session` may be lost, come back, or be replaced by another one that reaches it too.

    `until`: on the loop's clock, how long a request may wait for that.
    """

    def __init__(self, facts: Facts, session: Session, ending: Ending) -> None:
        self.facts = facts
        self.session = session
        self.ending = ending
        self.report = Report()
        self.until = 0.0
        self._losses = 0
        self._reachable = Flag()
        self._reachable.set()
        self._notes: list[str] = []

    @property
    def notes(self) -> str:
        """What went wrong and what was decided, for the record."""
        return "; ".join(self._notes)

    def note(self, text: str) -> None:
        """Add to the record of this guest."""
        self._notes.append(text)

    def warn(self, text: str) -> None:
        """Add to the record, and say it."""
        self.note(text)
        self.report.warning(f"{self.facts.name}: {text}")

    def lose(self) -> None:
        """Take that the connection is lost."""
        self._losses += 1
        self._reachable.clear()

    def reach(self, session: Session) -> None:
        """Take that the guest can be reached (again), by this session."""
        self.session = session
        self._reachable.set()

    async def taken(
        self,
        what: str,
        request: Callable[[Session], Awaitable[None]],
        seconds: float = 30.0,
        *,
        until_gone: bool = True,
    ) -> bool:
        """True if the request was taken, or if the guest ended meanwhile; that ends the waiting.

        One that fails with the connection is made again when there is one.
        """
        while True:
            losses = self._losses
            try:
                await self._done(request(self.session), seconds, until_gone)
                return True
            except (LibvirtError, CallTimeoutError) as error:
                await self.ending.last_news()
                wrong = str(error)
            if self.ending.gone.is_set():
                return False
            if (losses == self._losses and self._reachable.is_set()) or not await self.reachable():
                self.warn(f"{what}: {wrong}")
                return False

    async def reachable(self) -> bool:
        """Wait for a connection that was lost; True if there is one and the guest still runs."""
        seconds = self.until - asyncio.get_running_loop().time()
        either = {self._reachable.future(), self.ending.gone.future()}
        await asyncio.wait(either, timeout=max(seconds, 0.0), return_when=asyncio.FIRST_COMPLETED)
        return seconds > 0 and self._reachable.is_set() and not self.ending.gone.is_set()

    async def _done(self, request: Awaitable[None], seconds: float, until_gone: bool) -> None:
        """Wait for a request, in this task: one more for each takes longer than a request. Raises what it raises."""
        gone = self.ending.gone.future() if until_gone else asyncio.get_running_loop().create_future()
        limit = asyncio.timeout(seconds)

        def give_up(_: object) -> None:
            with suppress(RuntimeError):  # the request was done in the same moment
                limit.reschedule(0)

        try:
            async with limit:
                gone.add_done_callback(give_up)
                try:
                    await request
                finally:
                    gone.remove_done_callback(give_up)
        except TimeoutError:
            if not limit.expired():
                raise
            if not self.ending.gone.is_set():
                raise CallTimeoutError(f"no answer within {seconds:.0f} s") from None
