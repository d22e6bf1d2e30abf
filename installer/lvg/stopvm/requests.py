"""What is asked of one guest: every request has a deadline, and what it fails with is noted, never raised."""

import asyncio
from collections.abc import Awaitable

from .calls import CallTimeoutError
from .decide import Facts
from .ending import Ending
from .report import Report
from .session import LibvirtError, Session

ANSWER_WITHIN = 25.0  # seconds for a request, on top of the session's own limits


class Requests:
    """The way to one guest. `session` may be replaced by another one that reaches it too."""

    def __init__(self, facts: Facts, session: Session, ending: Ending) -> None:
        self.facts = facts
        self.session = session
        self.ending = ending
        self.report = Report()
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

    async def taken(
        self, what: str, request: Awaitable[None], seconds: float = 30.0, *, until_gone: bool = True
    ) -> bool:
        """True if the request was taken, or if the guest ended meanwhile; that ends the waiting."""
        task = asyncio.ensure_future(request)
        gone = asyncio.ensure_future(self.ending.gone.wait() if until_gone else asyncio.Event().wait())
        try:
            await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not self.ending.gone.is_set():
                raise CallTimeoutError(f"no answer within {seconds:.0f} s")
            if task.done():
                task.result()
            return True
        except (LibvirtError, CallTimeoutError) as error:
            await self.ending.last_news()
            if not self.ending.gone.is_set():
                self.warn(f"{what}: {error}")
            return False
        finally:
            gone.cancel()
            task.cancel()
