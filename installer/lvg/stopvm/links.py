"""The connections to libvirt that a restore needs: made when libvirt comes up, made again when it was restarted."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from .calls import CallTimeoutError
from .decide import Facts
from .report import Report
from .session import Events, LibvirtError, NoAgentError, Session

_RETRY_EVERY = 2.0  # seconds
_ASK_AGAIN = 10.0  # seconds until an agent is pinged again of which libvirt has no news


class Links:
    """All connections. `within`: the seconds that libvirt has to come up."""

    def __init__(self, sessions: Sequence[Session], report: Report, within: float) -> None:
        self._sessions = {session.uri: session for session in sessions}
        self._report = report
        self._within = within
        self._agents: dict[str, asyncio.Event] = {}
        self._mending = asyncio.Lock()
        self._gone: set[str] = set()
        self.opened = Counter[str]()  # how often, by URI

    async def reach(self, uri: str) -> Session | None:
        """Connect; at boot libvirt may need a moment."""
        session = self._sessions.get(uri)
        if session is None:
            self._report.err(f"guests of {uri} are not brought back: no such URI any more")
            return None
        clock = asyncio.get_running_loop().time
        end = clock() + self._within
        while True:
            try:
                await session.open(Events(self._on_guest, lambda _: None))
                self.opened[uri] += 1
                return session
            except (LibvirtError, CallTimeoutError) as error:
                if clock() >= end:
                    self._gone.add(uri)
                    self._report.err(f"libvirt at {uri} is out of reach, nothing is brought back there: {error}")
                    return None
            await asyncio.sleep(_RETRY_EVERY)

    def _on_guest(self, _uri: str, uuid: str, _name: str, what: str) -> None:
        if what == "agent":
            self._agents.setdefault(uuid, asyncio.Event()).set()

    async def mended(self, session: Session, opened: int) -> bool:
        """Return True if the connection was lost (libvirt was restarted) and there is a new one.

        `opened`: how often it had been opened when a request began that failed.
        """
        async with self._mending:
            if self.opened[session.uri] > opened:
                return True
            if session.uri in self._gone or await self.is_well(session):
                return False
            return await self.reach(session.uri) is not None

    async def is_well(self, session: Session) -> bool:
        """Return True if libvirt answers."""
        try:
            await session.running()
        except (LibvirtError, CallTimeoutError):
            return False
        return True

    async def agent_answers(self, session: Session, facts: Facts) -> None:
        """Return when the guest's agent answers. Raises NoAgentError if it has none that could."""
        heard = self._agents.setdefault(facts.uuid, asyncio.Event())
        while True:
            heard.clear()
            try:
                return await session.ping(facts)
            except NoAgentError:
                raise
            except (LibvirtError, CallTimeoutError):
                with suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), _ASK_AGAIN)
