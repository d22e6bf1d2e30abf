"""The channel of a guest's agent, spoken to directly: for when libvirtd, which else holds it, is gone."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

from .qmp import QmpError, complaint, connected, next_line, parsed

_LINE = 10 << 20  # bytes of one answer at most, as for libvirt: it may hold the output of a command
_SYNC_WITHIN = 5.0  # seconds
_NO_NEWS = 2.0  # seconds in which an agent that refuses a shutdown has said so; one that obeys says nothing
_RESET = b"\xff"  # no byte of JSON: both sides forget what came before it


class AgentSocket:
    """One agent. It serves one request at a time, and so does this."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, request: str, seconds: float) -> str:
        """Return the answer to a request, as one JSON document. Raises QmpError."""
        async with self._turn:
            return json.dumps(await self._asked(request, seconds))

    async def shut_down(self) -> None:
        """Order a shutdown. Raises QmpError if the agent is not there or refuses."""
        async with self._turn:
            reader, writer = await self._open()
            arguments = {"mode": "powerdown"}
            writer.write(json.dumps({"execute": "guest-shutdown", "arguments": arguments}).encode() + b"\n")
            try:
                async with asyncio.timeout(_NO_NEWS):
                    refused = complaint(parsed(await next_line(reader) or b"{}"))
            except (TimeoutError, OSError):
                return
            if refused:
                raise QmpError(f"the guest's agent refuses: {refused}")

    async def _asked(self, request: str, seconds: float) -> dict[str, Any]:
        reader, writer = await self._open()
        writer.write(request.encode() + b"\n")
        try:
            async with asyncio.timeout(seconds):
                return parsed(await next_line(reader))
        except (TimeoutError, OSError, QmpError) as error:
            self._close()  # a late answer would be taken for that to the next request
            raise QmpError(f"the guest's agent: {str(error) or 'no answer'}") from None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect once and come into step: libvirtd may have gone in the middle of a request of its own."""
        if self._line:
            return self._line
        try:
            async with asyncio.timeout(_SYNC_WITHIN):
                self._line = await connected(self._path, _LINE)
                await _sync(*self._line)
                return self._line
        except (TimeoutError, OSError, QmpError) as error:
            self._close()
            raise QmpError(f"the guest's agent: {str(error) or 'no answer'}") from None

    def _close(self) -> None:
        if self._line:
            self._line[1].close()
            self._line = None


async def _sync(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a number and read until it comes back (qemu-ga-ref, guest-sync-delimited). Raises QmpError."""
    number = secrets.randbits(31)
    request = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
    writer.write(_RESET + json.dumps(request).encode() + b"\n")
    while line := await next_line(reader):
        _, reset, answer = line.rpartition(_RESET)
        if reset and parsed(answer).get("return") == number:
            return
    raise QmpError("the channel was closed")
