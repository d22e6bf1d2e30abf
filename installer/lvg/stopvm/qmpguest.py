"""One guest by the monitor of its QEMU, and by its agent's channel: for when libvirtd is gone."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

from .agentsocket import AgentSocket
from .ending import left_behind
from .qemuprocess import Process
from .qmp import Monitor, QmpError
from .watch import process_end

_ENDS_WITHIN = 30.0  # seconds from `quit` until the process is gone
_STATES = {  # of query-status (qapi/run-state.json), in the words of Facts; what is not here does not run, either
    "running": "running",
    "colo": "running",
    "shutdown": "shutdown",
    "suspended": "pmsuspended",
    "guest-panicked": "crashed",
    "internal-error": "crashed",
}
_PAUSE_IT = ("save", "snapshot", "dump")  # jobs of libvirtd's for which it pauses a guest that runs


class QmpGuest:
    """One guest. `tell(what)`: what happens to it, as in Events; `greeting`: seconds that its monitor has for that."""

    def __init__(self, process: Process, tell: Callable[[str], None], root: Path, greeting: float) -> None:
        self.process = process
        self._tell = tell
        self._root = root
        self._greeting = greeting
        self._monitor: Monitor | None = None
        self._connecting = asyncio.Lock()
        self._agent = AgentSocket(process.agent) if process.agent else None
        self._watched = False
        self._gone = asyncio.Event()
        self._finished = False  # it shut itself down
        self._quitting = ""  # how it will have ended, once `quit` was sent
        self._tasks: set[asyncio.Task[None]] = set()

    async def look(self) -> str:
        """Connect and return its state as in Facts. One whose monitor does not answer counts as running."""
        if not self._watched:
            self._watched = True
            self._start(self._watch())
        try:
            status = await self._status()
        except QmpError:
            return "running"
        if status == "shutdown":
            self._has_finished()
        if status == "postmigrate" and self._is_saved():
            # Never let it run on: its next start would put an old memory upon a newer disk.
            self._start(self._quit("saved"))
            return "shutdown"
        state = _STATES.get(status, "paused")
        return "running" if state == "paused" and self.process.job in _PAUSE_IT else state

    async def ask(self, way: str) -> None:
        """Ask it to shut down, by "agent" or "acpi"; if it does not run, it runs on first. Raises QmpError."""
        status = await self._status()
        if status == "suspended":
            await self.wake()
        elif _STATES.get(status, "paused") == "paused":
            await self.resume()
        if status == "shutdown":
            self._has_finished()
        elif way == "acpi":
            await self._execute("system_powerdown")
        else:
            await self.agent.shut_down()

    @property
    def agent(self) -> AgentSocket:
        """The channel of its agent. Raises QmpError if it has none."""
        if self._agent is None:
            raise QmpError("it has no guest agent")
        return self._agent

    async def resume(self) -> None:
        """Let it run on: libvirtd may have died while it saved the guest. Raises QmpError."""
        if self.process.job.startswith("migration"):
            raise QmpError("it was on its way from one host to another: it may run there")
        if self._quitting == "saved":
            raise QmpError("it is saved")
        await self._execute("migrate_cancel")  # for QEMU a save is a migration to a file; without one it does nothing
        await self._execute("cont")

    async def wake(self) -> None:
        """Wake it from its sleep. Raises QmpError."""
        await self._execute("system_wakeup")

    async def destroy(self) -> None:
        """End its process. Raises QmpError."""
        await self._quit("destroyed")
        try:
            await asyncio.wait_for(self._gone.wait(), _ENDS_WITHIN)
        except TimeoutError:
            raise QmpError("its process did not end") from None

    async def _status(self) -> str:
        found = await self._execute("query-status")
        return str(found.get("status")) if isinstance(found, dict) else ""

    async def _execute(self, command: str) -> object:
        """Connect if need be: a QEMU that hung for a while may answer when it is asked again."""
        async with self._connecting:
            if self._monitor is None or self._monitor.closed:
                self._monitor = await Monitor.open(self.process.monitor, self._hear, self._greeting)
        return await self._monitor.execute(command)

    def _hear(self, event: str, data: Mapping[str, object]) -> None:
        if event == "GUEST_PANICKED" and data.get("action") != "run":
            self._tell("crashed")
        if event != "SHUTDOWN" or self._quitting:
            return
        if data.get("guest") is False:
            self._tell("killed")
            self._quitting = "clean"  # which Ending knows better
        elif data.get("reason") != "guest-panic":
            self._has_finished()

    def _has_finished(self) -> None:
        """Take that it shut itself down. QEMU runs with -no-shutdown: it waits for `quit`."""
        if not self._finished:
            self._finished = True
            self._tell("finished")
            self._start(self._quit("clean"))

    async def _quit(self, how: str) -> None:
        await self._status()
        self._quitting = self._quitting or how  # before QEMU's own word of it, which would be "killed"
        await self._execute("quit")

    async def _watch(self) -> None:
        """Tell how it ended. "gone": nobody knows."""
        if await process_end(self.process.name, self._root):
            self._gone.set()
            self._tell(f"stopped:{self._quitting}" if self._quitting else "gone")

    def _is_saved(self) -> bool:
        return self.process.job == "save" and left_behind(self.process.name, True, self._root) == "saved"

    def _start(self, work: Coroutine[object, object, None]) -> None:
        async def do() -> None:
            try:
                await work
            except QmpError:
                return  # the end of the process tells

        task = asyncio.ensure_future(do())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
