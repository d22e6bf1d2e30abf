"""Commands of the admin's that run before a guest is asked to stop: in the guest by its agent, or on the host."""

import asyncio
import os
import signal
from contextlib import suppress

from .calls import CallTimeoutError
from .decide import Facts
from .policy import Command, GuestPolicy
from .report import Report
from .requests import ANSWER_WITHIN, Requests
from .session import LibvirtError

_SHOWN = 100  # lines of output that go to the journal
_LONGEST = 500  # characters of each
_KEPT = 1 << 16  # bytes of output; a command may print without end
_AT_LEAST = 1.0  # seconds a command gets, however late it is
_DIES_WITHIN = 1.0  # seconds after SIGKILL


async def before_stop(requests: Requests, policy: GuestPolicy, until: float) -> str:
    """Run the commands, first in the guest, then on the host, one after the other.

    Returns "" to go on, or what `on_hook_failure` says ("save", "skip") once one failed. `until`: on the loop's clock.
    """
    commands = [("before_stop", command) for command in policy.before_stop]
    commands += [("before_stop_host", command) for command in policy.before_stop_host]
    for where, command in commands:
        seconds = min(policy.hook_timeout, max(until - asyncio.get_running_loop().time(), _AT_LEAST))
        if where == "before_stop":
            wrong = await run_in_guest(command, requests, seconds)
        else:
            wrong = await run_on_host(command, requests.facts, seconds, requests.report)
        if not wrong:
            continue
        requests.note(f"{where}: {wrong}")
        requests.report.warning(f"{requests.facts.name}: {where}: {wrong} ({policy.on_hook_failure})")
        if policy.on_hook_failure != "continue":
            return policy.on_hook_failure
    return ""


async def run_in_guest(command: Command, requests: Requests, seconds: float) -> str:
    """Run one command in the guest and return what went wrong, "" if nothing did."""
    guest = requests.facts
    if not guest.agent:
        return f"{command[0]}: the guest's agent is not there"
    try:
        await requests.reachable()
        running = requests.session.execute(guest, command, seconds)
        code, output = await asyncio.wait_for(running, seconds + ANSWER_WITHIN)
    except (LibvirtError, CallTimeoutError, TimeoutError) as error:
        return f"{command[0]}: {str(error) or 'no answer'}"
    show(output, command, guest, requests.report)
    return f"{command[0]}: exit code {code}" if code else ""


async def run_on_host(command: Command, guest: Facts, seconds: float, report: Report) -> str:
    """Run one command (no shell) and return what went wrong, "" if nothing did.

    It finds the guest in LVG_GUEST_NAME and LVG_GUEST_UUID; its output goes to the journal. After
    `seconds` it is killed with all that it started.
    """
    environment = {**os.environ, "LVG_GUEST_NAME": guest.name, "LVG_GUEST_UUID": guest.uuid}
    try:
        process, heard = await asyncio.get_running_loop().subprocess_exec(
            _Heard,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"{command[0]}: {error}"
    wrong = ""
    try:
        await asyncio.wait_for(heard.over.wait(), max(seconds, 0.1))
    except TimeoutError:
        wrong = f"{command[0]}: not done after {seconds:.0f} s, killed"
    finally:
        await _end(process, heard)
    show(heard.output.decode(errors="replace"), command, guest, report)
    code = process.get_returncode()
    return wrong or (f"{command[0]}: exit code {code}" if code else "")


class _Heard(asyncio.SubprocessProtocol):
    """The first that a command says. It is `over` when the command has ended and nobody can say more."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.ended, self.over = asyncio.Event(), asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take what it says."""
        del fd
        self.output += data[: _KEPT - len(self.output)]

    def process_exited(self) -> None:
        """Take that it has ended; what it has started may still hold its pipe."""
        self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take that its pipe is closed, too."""
        del exc
        self.over.set()


async def _end(process: asyncio.SubprocessTransport, heard: _Heard) -> None:
    """Kill what is left of a command, and let go of the pipe that a process in a session of its own may hold open."""
    try:
        with suppress(OSError):
            os.killpg(process.get_pid(), signal.SIGKILL)
        with suppress(TimeoutError):  # a process that hangs in the kernel ends when it can
            await asyncio.wait_for(heard.ended.wait(), _DIES_WITHIN)
    finally:
        process.close()


def show(output: str, command: Command, guest: Facts, report: Report) -> None:
    """Put a command's output into the journal, as much of it as anybody reads."""
    for line in output.splitlines()[:_SHOWN]:
        report.info(f"{guest.name}: {command[0]}: {line[:_LONGEST]}")
