"""A command on the host, whatever becomes of it, leaves neither a process nor an open pipe behind in stopvm."""

import asyncio
import gc
import io
import os
import signal
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

from lvg.stopvm.decide import Facts
from lvg.stopvm.hooks import run_on_host
from lvg.stopvm.report import Report

SLEEPS = "echo $$ >{pid}; exec sleep 60"
# In a session of its own, with the pipe in its hands; its number is there once it got away.
GETS_AWAY = "setsid sh -c 'echo $$ >{pid}; exec sleep 60' & wait"


def pipes() -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself
            found.add(os.readlink(link))
    return {name for name in found if name.startswith("pipe:")}


async def settled(before: set[str]) -> bool:
    """True once no pipe is open but those from before."""
    for _ in range(200):
        if pipes() <= before:
            return True
        await asyncio.sleep(0.01)
    return False


def ran(command: str, seconds: float, cancel_after: Path | None = None) -> tuple[str, bool, list[str]]:
    """Run a command and return what went wrong, whether its pipe was closed, and what Python had to clean up."""

    async def run() -> tuple[str, bool]:
        before = pipes()
        work = asyncio.ensure_future(run_on_host(("sh", "-c", command), Facts("u", "vm"), seconds, report))
        while cancel_after and not (cancel_after.exists() and cancel_after.read_text()):
            await asyncio.sleep(0.01)
        if cancel_after:
            work.cancel()
        (wrong,) = await asyncio.gather(work, return_exceptions=True)
        return str(wrong) or type(wrong).__name__.replace("str", ""), await settled(before)

    report = Report(io.StringIO())
    gc.collect()  # what earlier tests left is not this one's
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrong, closed = asyncio.run(run())
        gc.collect()
    return wrong, closed, [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("command", "seconds", "cancel", "says"),
    [
        ("echo done", 30, False, ""),
        ("exit 3", 30, False, "sh: exit code 3"),
        (SLEEPS, 0.3, False, "sh: not done after 0 s, killed"),
        (SLEEPS, 30, True, "CancelledError"),
        (GETS_AWAY, 3, False, "sh: not done after 3 s, killed"),
        (GETS_AWAY, 30, True, "CancelledError"),
    ],
)
def test_nothing_stays_open(tmp_path, command, seconds, cancel, says):
    pid = tmp_path / "pid"
    try:
        assert ran(command.format(pid=pid), seconds, pid if cancel else None) == (says, True, [])
    finally:
        if command == GETS_AWAY:
            with suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_command_that_cannot_be_started_leaves_nothing():
    gc.collect()  # what earlier tests left is not this one's
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrong = asyncio.run(run_on_host(("/nonexistent",), Facts("u", "vm"), 5, Report(io.StringIO())))
        gc.collect()
    assert wrong.startswith("/nonexistent: ")
    assert [str(each.message) for each in caught] == []
