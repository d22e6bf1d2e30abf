"""QEMU's own protocol (QMP, qemu/docs/interop/qmp-spec) on a monitor's unix socket, bounded in time and in size.

Whoever connects to a monitor holds it: QEMU serves one client at a time, and the next one gets no greeting.
So there is one connect for each guest, and none while libvirtd lives.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LINE = 1 << 20  # bytes of one line at most; QEMU's answers to our few commands have some hundred
_ANSWER_WITHIN = 10.0  # seconds
_BUSY_EVERY = 0.5  # seconds until a full backlog is tried again


class QmpError(Exception):
    """A monitor did not do what it was asked; the text says why."""


def parsed(line: bytes) -> dict[str, Any]:
    """Return the JSON object on one line. Raises QmpError if it is something else."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise QmpError("it speaks no JSON") from None
    if not isinstance(found, dict):
        raise QmpError("it sent something that is no object")
    return found


def complaint(message: Mapping[str, object]) -> str:
    """Return the reason in an error reply, "" if the message is none."""
    error = message.get("error")
    if error is None:
        return ""
    reason = error.get("desc") if isinstance(error, dict) else None
    return f"{reason or 'an error without a reason'}"[:500]


async def connected(path: Path, limit: int = LINE) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a unix socket; no line may be longer than `limit`. Waits for as long as it is busy. Raises OSError.

    A full backlog is EAGAIN, for which asyncio would wait in vain.
    """
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        while True:
            with suppress(BlockingIOError):
                found.connect(str(path))
                break
            await asyncio.sleep(_BUSY_EVERY)
        return await asyncio.open_unix_connection(sock=found, limit=limit)
    except BaseException:
        found.close()
        raise


async def next_line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line, b"" at the end. Raises OSError; QmpError for a line that does not end.

    A line that is there already is returned without a wait; whoever floods us with such must not hold the loop up.
    """
    await asyncio.sleep(0)
    try:
        return await reader.readline()
    except ValueError:
        raise QmpError("it sent a line without an end") from None


class Monitor:
    """An open monitor. `hear(event, data)` is called for each event of QEMU's, in the loop's thread."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        hear: Callable[[str, Mapping[str, object]], None],
    ) -> None:
        self._writer = writer
        self._hear = hear
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._number = 0
        self._closed = ""  # why
        self._reading = asyncio.ensure_future(self._read(reader))

    @classmethod
    async def open(cls, path: Path, hear: Callable[[str, Mapping[str, object]], None], seconds: float) -> "Monitor":
        """Connect and greet. Raises QmpError, after `seconds` at the latest."""
        writer = None
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await connected(path)
                if "QMP" not in parsed(await next_line(reader) or b"{}"):
                    raise QmpError("it does not greet as QEMU does")
                monitor = cls(reader, writer, hear)
                await monitor.execute("qmp_capabilities", seconds)
                return monitor
        except TimeoutError:
            why = "it does not greet: somebody else holds it, or QEMU hangs"
        except (OSError, QmpError) as error:
            why = str(error)
        if writer is not None:
            writer.close()
        raise QmpError(f"QEMU's monitor: {why}")

    async def execute(self, command: str, seconds: float = _ANSWER_WITHIN) -> object:
        """Return what QEMU answers to a command. Raises QmpError, after `seconds` at the latest."""
        if self._closed:
            raise QmpError(f"{command}: {self._closed}")
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"execute": command, "id": number}).encode() + b"\n")
        try:
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            raise QmpError(f"{command}: no answer within {seconds:.0f} s") from None
        except QmpError as error:
            raise QmpError(f"{command}: {error}") from None
        finally:
            self._waiting.pop(number, None)

    @property
    def closed(self) -> bool:
        """True if nothing can be asked any more."""
        return bool(self._closed)

    def close(self) -> None:
        """Let go of the monitor."""
        self._reading.cancel()
        self._end("closed by us")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        why = "the monitor was closed"
        try:
            while line := await next_line(reader):
                self._take(parsed(line))
        except (OSError, QmpError) as error:
            why = str(error)
        self._end(why)

    def _take(self, message: Mapping[str, object]) -> None:
        event, number = message.get("event"), message.get("id")
        if isinstance(event, str):
            data = message.get("data")
            self._hear(event, data if isinstance(data, dict) else {})
        answer = self._waiting.get(number) if isinstance(number, int) else None
        if answer is None or answer.done():
            return
        if why := complaint(message):
            answer.set_exception(QmpError(why))
        else:
            answer.set_result(message.get("return"))

    def _end(self, why: str) -> None:
        self._closed = self._closed or why
        self._writer.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(QmpError(why))
