"""A Session with libvirt behind it.

Calls that may block for long (guest agent, save, destroy, start) go over a connection of their own
thread: libvirtd serves only five calls of one client at a time, and a few deaf guests would hold up
all others.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import libvirt

from . import agent, connecting, domainjobs, wire
from .calls import Calls, CallTimeoutError
from .decide import Facts
from .listening import listen
from .policy import Command
from .session import Events, LibvirtError, NoAnswerError, UnreachableError

T = TypeVar("T")
_QUICK = 15.0  # seconds for a call that only asks libvirtd itself
_LIST = 60.0
_PING = 7.0  # seconds for a ping; libvirt itself waits 5 for the agent's answer
_AGENT = 15.0  # seconds until an agent that was pinged must have taken the order
_DESTROY = 40.0  # libvirt itself waits 15 s for SIGTERM and 15 s for SIGKILL, longer with host devices
_START = 600.0  # a saved guest reads all of its memory back


class LibvirtSession:
    """A connection to libvirt at one URI; it can be opened again after it was lost."""

    def __init__(self, uri: str, calls: Calls) -> None:
        self.uri = uri
        self.real = ""
        self._calls = calls
        self._connection: libvirt.virConnect = None
        self._listening: libvirt.virConnect = None  # the same one, or another one for the news alone
        self._driver = ""
        self._handles: dict[str, libvirt.virDomain] = {}  # on the main connection, by UUID
        self._lost: Callable[[], None] = lambda: None  # tells that the connection is gone
        self._own = threading.local()
        self._suspect = False  # a quick call was not answered: do not queue behind it

    async def open(self, events: Events) -> None:
        """Connect (again) and listen. Raises UnreachableError."""
        self._handles = {}
        try:
            await self._calls.run(_QUICK, partial(self._open, events, asyncio.get_running_loop()))
        except CallTimeoutError as error:
            raise NoAnswerError(str(error)) from None

    def _open(self, events: Events, loop: asyncio.AbstractEventLoop) -> None:
        connection, listening = connecting.connect_twice(self.uri)
        self._lost = listen(listening, self.uri, events, loop)
        try:
            self._driver, self.real = connection.getType().lower(), connection.getURI()
        except libvirt.libvirtError as error:
            raise UnreachableError(wire.reason(error)) from None
        self._connection, self._listening = connection, listening

    async def running(self) -> list[Facts]:
        """Return all active guests."""
        found = await self._call(_LIST, lambda: wire.running(self._connection, self.uri))
        self._handles = {facts.uuid: domain for facts, domain in found}
        return [facts for facts, _ in found]

    async def names(self) -> list[str]:
        """Return the names of all guests, also of those that are off."""
        return await self._call(_LIST, lambda: [domain.name() for domain in self._connection.listAllDomains()])

    async def how_ended(self, guest: Facts) -> str:
        """Return how an inactive guest ended; "" if libvirt does not know."""
        return await self._call(_QUICK, lambda: wire.how_ended(self._connection, guest))

    async def ask(self, guest: Facts, way: str) -> None:
        """Ask by the agent, or by ACPI (with a driver other than QEMU's: by what it has for a shutdown)."""
        if way == "agent":
            await self.ping(guest)
            flag = libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT
            return await self._slow(guest, _AGENT, lambda domain: domain.shutdownFlags(flag))
        if self._driver != "qemu":
            return await self._quick(guest, lambda domain: domain.shutdown())
        flag = libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        return await self._quick(guest, lambda domain: domain.shutdownFlags(flag))

    async def resume(self, guest: Facts) -> None:
        """Let a paused guest run."""
        await self._quick(guest, lambda domain: domain.resume())

    async def end_at_poweroff(self, guest: Facts) -> None:
        """Let this run of the guest end when it shuts itself down; its definition stays as it is."""
        what, action = libvirt.VIR_DOMAIN_LIFECYCLE_POWEROFF, libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY
        live = libvirt.VIR_DOMAIN_AFFECT_LIVE
        await self._quick(guest, lambda domain: domain.setLifecycleAction(what, action, live))

    async def job(self, guest: Facts) -> str:
        """Return which job holds the guest; drivers other than QEMU's have none."""
        return await self._quick(guest, domainjobs.operation) if self._driver == "qemu" else ""

    async def abort_job(self, guest: Facts) -> None:
        """Abort the job that holds the guest."""
        await self._slow(guest, _QUICK, lambda domain: domain.abortJob())

    async def cancel_jobs(self, guest: Facts) -> str:
        """Cancel what keeps the guest from being saved."""
        return await self._slow(guest, _DESTROY, domainjobs.cancel) if self._driver == "qemu" else ""

    async def wake(self, guest: Facts) -> None:
        """Wake a guest that suspended itself."""
        await self._quick(guest, lambda domain: domain.pMWakeup(0))

    async def save(self, guest: Facts, bypass_cache: bool, seconds: float) -> None:
        """Save a guest's memory to disk; one that takes too long is aborted."""
        flags = libvirt.VIR_DOMAIN_SAVE_BYPASS_CACHE if bypass_cache else 0
        try:
            await self._slow(guest, seconds, lambda domain: domain.managedSave(flags))
        except CallTimeoutError:
            with suppress(LibvirtError, CallTimeoutError):
                await self.abort_job(guest)
            raise LibvirtError(f"saving took longer than {seconds:.0f} s") from None

    async def destroy(self, guest: Facts, graceful: bool) -> None:
        """End a guest."""
        flags = libvirt.VIR_DOMAIN_DESTROY_GRACEFUL if graceful else 0
        await self._slow(guest, _DESTROY, lambda domain: domain.destroyFlags(flags))

    async def start(self, guest: Facts, paused: bool, bypass_cache: bool) -> str:
        """Start a guest, or resume it if it was saved."""
        flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
        flags |= libvirt.VIR_DOMAIN_START_BYPASS_CACHE if bypass_cache else 0
        return await self._slow(guest, _START, lambda domain: wire.start(domain, flags))

    async def ping(self, guest: Facts) -> None:
        """Return if the guest's agent answers within seconds."""
        await self._slow(guest, _PING, partial(wire.ask_agent, agent.PING))

    async def execute(self, guest: Facts, command: Command, seconds: float) -> tuple[int, str]:
        """Run a command in the guest by its agent; return its exit code and output."""
        return await agent.run(command, seconds, lambda text: self._slow(guest, _AGENT, partial(wire.ask_agent, text)))

    async def sync_time(self, guest: Facts) -> None:
        """Set a resumed guest's clock by its agent."""
        await self._slow(guest, _AGENT, lambda domain: domain.setTime({}, libvirt.VIR_DOMAIN_TIME_SYNC))

    async def _quick(self, guest: Facts, function: "Callable[[libvirt.virDomain], T]") -> T:
        if self._suspect:
            return await self._slow(guest, _QUICK, function)
        try:
            return await self._call(_QUICK, lambda: function(self._domain(guest)), quick=True)
        except CallTimeoutError:
            self._suspect = True
            raise

    def _domain(self, guest: Facts) -> "libvirt.virDomain":
        return self._handles.get(guest.uuid) or wire.find(self._connection, guest)

    def _slow(self, guest: Facts, seconds: float, function: "Callable[[libvirt.virDomain], T]") -> Awaitable[T]:
        return self._call(seconds, lambda: function(wire.find(self._threads_own(), guest)))

    def _call(self, seconds: float, function: Callable[[], T], *, quick: bool = False) -> Awaitable[T]:
        def call() -> T:
            try:
                return function()
            except libvirt.libvirtError as error:
                self._look_whether_lost()
                raise LibvirtError(wire.reason(error)) from None

        return self._calls.run(seconds, call, quick=quick)

    def _look_whether_lost(self) -> None:
        """Tell of a loss that libvirt does not tell of.

        If libvirtd falls silent while several calls wait for it, only one of them ever returns, and the close
        callback is never called (libvirt 9.0 and 11.3, measured).
        """
        with suppress(libvirt.libvirtError):
            if not (self._connection.isAlive() and self._listening.isAlive()):
                self._lost()

    def _threads_own(self) -> "libvirt.virConnect":
        """Return this thread's connection; the main one if the driver lives in this process, or if no other opens."""
        found = getattr(self._own, "connection", None)
        if self._driver == "test" or (found is not None and found.isAlive()):
            return found or self._connection
        try:
            self._own.connection = connecting.connect(self.uri)
        except UnreachableError:
            return self._connection
        return self._own.connection
