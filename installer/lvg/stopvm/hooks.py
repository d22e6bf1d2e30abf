"""Commands of the admin's that run before a guest is asked to stop."""

import asyncio
import os
import signal
from contextlib import suppress

from .decide import Facts
from .policy import Command
from .report import Report

_SHOWN = 100  # lines of output that go to the journal


async def run_on_host(command: Command, guest: Facts, seconds: float, report: Report) -> str:
    """Run one command (no shell) and return what went wrong, "" if nothing did.

    It finds the guest in LVG_GUEST_NAME and LVG_GUEST_UUID; its output goes to the journal. After
    `seconds` it is killed with all that it started.
    """
    environment = {**os.environ, "LVG_GUEST_NAME": guest.name, "LVG_GUEST_UUID": guest.uuid}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"{command[0]}: {error}"
    output, wrong = b"", ""
    try:
        output, _ = await asyncio.wait_for(process.communicate(), max(seconds, 0.1))
    except TimeoutError:
        wrong = f"{command[0]}: not done after {seconds:.0f} s, killed"
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    show(output.decode(errors="replace"), command, guest, report)
    return wrong or (f"{command[0]}: exit code {process.returncode}" if process.returncode else "")


def show(output: str, command: Command, guest: Facts, report: Report) -> None:
    """Put a command's output into the journal, as much of it as anybody reads."""
    for line in output.splitlines()[:_SHOWN]:
        report.info(f"{guest.name}: {command[0]}: {line}")
