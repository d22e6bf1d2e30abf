"""A Session without libvirt: the guests of the local QEMU system driver, by the monitors of their processes.

It can shut guests down, and it can end them. What only libvirt can do (save, start) raises LibvirtError.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from . import agent, qemuprocess
from .decide import Facts
from .ending import ROOT
from .policy import Command
from .qmp import QmpError
from .qmpguest import QmpGuest
from .session import Events, LibvirtError

T = TypeVar("T")
GREETING_WITHIN = 10.0  # seconds; QEMU may be busy
_PING = 5.0  # seconds
_AGENT = 15.0  # seconds


class QmpSession:
    """Stands in for a LibvirtSession of the same URI. Whether it may is decided in rescue.py.

    `takes(name)`: whether a guest is to be stopped; the monitors of others are left alone.
    """

    def __init__(
        self,
        uri: str,
        root: Path = ROOT,
        takes: Callable[[str], bool] = lambda _: True,
        greeting: float = GREETING_WITHIN,
    ) -> None:
        self.uri = uri
        self.real = "qemu:///system"
        self._root = root
        self._takes = takes
        self._greeting = greeting
        self._events: Events | None = None
        self._guests: dict[str, QmpGuest] = {}

    async def open(self, events: Events) -> None:
        """Note whom to tell; each guest has a connection of its own, and there may be many."""
        self._events = events
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def running(self) -> list[Facts]:
        """Find the guests, and connect to each, once."""
        for process in qemuprocess.find(self._root):
            if process.uuid not in self._guests:
                tell = partial(self._tell, process.uuid, process.name)
                self._guests[process.uuid] = QmpGuest(process, tell, self._root, self._greeting)
        return list(await asyncio.gather(*map(self._facts, self._guests.values())))

    async def names(self) -> list[str]:
        """Return the names of those that run: of the others QEMU knows nothing."""
        return [facts.name for facts in await self.running()]

    async def _facts(self, guest: QmpGuest) -> Facts:
        # on_poweroff is libvirt's doing: without it a guest that shut down stays down.
        known = guest.process
        state = await guest.look() if self._takes(known.name) else "running"
        return Facts(known.uuid, known.name, self.uri, state, known.persistent, known.agent_is_up, known.hostdev)

    def _tell(self, uuid: str, name: str, what: str) -> None:
        if self._events:
            self._events.guest(self.uri, uuid, name, what)

    async def how_ended(self, guest: Facts) -> str:
        """Say that nobody knows."""
        del guest
        return ""

    async def ask(self, guest: Facts, way: str) -> None:
        """Ask a guest to shut down."""
        await _done(self._guest(guest).ask(way))

    async def resume(self, guest: Facts) -> None:
        """Let a paused guest run."""
        await _done(self._guest(guest).resume())

    async def end_at_poweroff(self, guest: Facts) -> None:
        """Nothing to do: it is libvirt that starts a guest again, or keeps its process."""

    async def job(self, guest: Facts) -> str:
        """Say that no job holds the guest: what libvirtd was at went with it."""
        return ""

    async def abort_job(self, guest: Facts) -> None:
        """Refuse."""
        raise LibvirtError("only libvirt can abort its job")

    async def cancel_jobs(self, guest: Facts) -> str:
        """Nothing to do: it is for a save."""
        return ""

    async def wake(self, guest: Facts) -> None:
        """Wake a guest that suspended itself."""
        await _done(self._guest(guest).wake())

    async def save(self, guest: Facts, bypass_cache: bool, seconds: float) -> None:
        """Refuse: the file would be none that libvirt can start a guest from."""
        raise LibvirtError("only libvirt can save a guest")

    async def destroy(self, guest: Facts, graceful: bool) -> None:
        """End a guest's QEMU; there is one way to."""
        del graceful
        await _done(self._guest(guest).destroy())

    async def start(self, guest: Facts, paused: bool, bypass_cache: bool) -> str:
        """Refuse."""
        raise LibvirtError("only libvirt can start a guest")

    async def ping(self, guest: Facts) -> None:
        """Return if the guest's agent answers within seconds."""
        await _done(self._guest(guest).agent.ask(agent.PING, _PING))

    async def execute(self, guest: Facts, command: Command, seconds: float) -> tuple[int, str]:
        """Run a command in the guest by its agent; return its exit code and output."""
        return await agent.run(command, seconds, lambda text: _done(self._guest(guest).agent.ask(text, _AGENT)))

    async def sync_time(self, guest: Facts) -> None:
        """Refuse: it is for guests that were started."""
        raise LibvirtError("only libvirt sets a guest's clock")

    def _guest(self, guest: Facts) -> QmpGuest:
        try:
            return self._guests[guest.uuid]
        except KeyError:
            raise LibvirtError("its QEMU was not found") from None


async def _done(request: Awaitable[T]) -> T:
    try:
        return await request
    except QmpError as error:
        raise LibvirtError(str(error)) from None
