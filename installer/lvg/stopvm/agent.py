"""The words of the QEMU guest agent's protocol (qemu-ga, interop/qemu-ga-ref)."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping

from .policy import Command
from .session import LibvirtError

PING = json.dumps({"execute": "guest-ping"})


async def run(command: Command, seconds: float, ask: Callable[[str], Awaitable[str]]) -> tuple[int, str]:
    """Run a command in the guest and return its exit code and output. `ask` gets the agent's answer to a request.

    Raises what `ask` raises, and LibvirtError for an answer that is none and after `seconds`.
    """
    pause = 0.1
    try:
        async with asyncio.timeout(seconds):
            pid = started(await ask(execute(command)))
            while True:
                if (done := finished(await ask(ask_status(pid)))) is not None:
                    return done
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
    except (ValueError, RecursionError) as error:
        raise LibvirtError(str(error)) from None
    except TimeoutError:
        raise LibvirtError(f"not done after {seconds:.0f} s, it is left to run") from None


def execute(command: Command) -> str:
    """Return the request to run a command, without a shell, keeping its output."""
    arguments = {"path": command[0], "arg": list(command[1:]), "capture-output": True}
    return json.dumps({"execute": "guest-exec", "arguments": arguments})


def started(reply: str) -> int:
    """Return the pid from the reply to `execute`. Raises ValueError for a reply that is none."""
    pid = _returned(reply).get("pid")
    if not isinstance(pid, int):
        raise ValueError("the agent gave no pid")
    return pid


def ask_status(pid: int) -> str:
    """Return the request for the state of a command; the agent has no event for its end."""
    return json.dumps({"execute": "guest-exec-status", "arguments": {"pid": pid}})


def finished(reply: str) -> tuple[int, str] | None:
    """Return exit code and output of a command that ended, None if it still runs. Raises ValueError."""
    found = _returned(reply)
    if not found.get("exited"):
        return None
    output = "".join(_text(found.get(key)) for key in ("out-data", "err-data"))
    code = found.get("exitcode", found.get("signal", 1))
    return (code if isinstance(code, int) else 1), output


def _returned(reply: str) -> Mapping[str, object]:
    data = json.loads(reply)
    found = data.get("return") if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise ValueError("an answer of the agent that is none")
    return found


def _text(data: object) -> str:
    return base64.b64decode(data).decode(errors="replace") if isinstance(data, str) else ""
