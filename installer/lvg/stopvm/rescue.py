"""Whether QEMU may be talked to without libvirt; and the end of a libvirt daemon that hangs.

A monitor has one client. A libvirtd that comes back while we hold one cannot reconnect to its guest, and may then
kill it. So it has to be certain that no libvirtd lives, and that none comes back: while the host goes down systemd has
a job to stop it and starts it no more; else it has to have been away for a while, with its sockets.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import daemon
from .calls import Calls, CallTimeoutError
from .daemon import KILLED_WITHIN, daemon_runs
from .ending import ROOT
from .report import Report
from .session import NoAnswerError

AWAY = 10.0  # seconds; in a stop by hand, a daemon that may be started again was so by then
PATIENCE = 25.0  # seconds; in a shutdown, until a daemon that is there but of no use is given up
_SILENT_BEFORE = 20.0  # seconds in which a daemon says nothing before its connection counts as lost (keepalive)


def choice(state: str, seconds: float, *, local: bool, host_goes_down: bool) -> str:
    """Return what to do about a libvirt that is out of reach for so many seconds.

    `state` of its daemon: "gone" (no such process), "silent" (it is there and does not answer) or "there" (it answers,
    or refuses).
    Returns "talk" (to QEMU), "end" (the daemon, then talk), "wait" (try libvirt again) or "leave" (the guests).
    """
    if not local:
        return "leave"
    if state == "gone":
        return "talk" if host_goes_down or seconds >= AWAY else "wait"
    if not host_goes_down:
        return "leave"
    if seconds < PATIENCE:
        return "wait"
    return "end" if state == "silent" else "leave"


@dataclass(eq=False, repr=False)
class Rescue:
    """What is to be known for `choice`, and what follows from it.

    `local`: URIs whose guests are processes here; `takes(name)`: whether this stop is about a guest.
    """

    local: frozenset[str]
    host_goes_down: bool
    report: Report
    root: Path = ROOT
    takes: Callable[[str], bool] = lambda _: True

    async def attempt(self, uri: str, error: Exception, seconds: float, *, lost: bool = False) -> str:
        """Return "talk", "wait" or "leave", after an attempt to reach libvirt that failed with `error`.

        `seconds`: for how long it has been out of reach, at least. `lost`: a connection was lost; then it may also
        be "anew": the daemon has to be killed, but this process would not survive that.
        """
        state = "gone"
        if daemon_runs(self.root):
            state = "silent" if isinstance(error, NoAnswerError | CallTimeoutError) else "there"
        if state == "silent" and lost:
            seconds += _SILENT_BEFORE
        step = choice(state, seconds, local=uri in self.local, host_goes_down=self.host_goes_down)
        if step == "end" and lost:
            return "anew"
        if step == "end":
            step = "talk" if await self._end_daemon() else "leave"
        return step

    async def _end_daemon(self) -> bool:
        """Kill a daemon that hangs; its guests live on. True if it is gone."""
        self.report.err("the libvirt daemon does not answer: it is killed, and QEMU is asked itself")
        clock = asyncio.get_running_loop().time
        end = clock() + KILLED_WITHIN
        try:
            await Calls(1).run(KILLED_WITHIN, daemon.kill)
        except CallTimeoutError:
            return False
        while daemon_runs(self.root):
            if clock() > end:
                return False
            await asyncio.sleep(0.1)
        return True
