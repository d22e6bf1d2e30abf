"""The saves of all guests: some at once, and only those for which the disk has room."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from .calls import Calls, CallTimeoutError
from .decide import Facts

SAVES_AT_ONCE = 4  # they compete for one disk
FOLDER = "var/lib/libvirt/qemu/save"  # of the QEMU system driver; it cannot be configured
_SPARE_MIB = 64.0  # left on the disk, which the host needs as well
_ANSWER_WITHIN = 5.0  # seconds for the file system
_SIZES = re.compile(r"^(?:VmRSS|VmSwap|HugetlbPages):\s+(\d+) kB", re.MULTILINE)
_COMPRESSED = re.compile(r'^\s*save_image_format\s*=\s*"(?!raw")', re.MULTILINE)


class NoRoomError(Exception):
    """The save folder has no room for the guest's memory."""


class Saves:
    """Gives each save its turn. `local`: URIs whose images go to this host's disk; `root`: of this host's files."""

    def __init__(self, root: Path, local: frozenset[str]) -> None:
        self._root = root
        self._local = local
        self._turns = asyncio.Semaphore(SAVES_AT_ONCE)
        self._done = asyncio.Condition()
        self._promised = 0.0  # MiB that saves at work may still write
        self._calls = Calls(1)

    @asynccontextmanager
    async def turn(self, guest: Facts) -> AsyncIterator[None]:
        """Wait for the guest's turn, and hold it while inside. Raises NoRoomError."""
        async with self._turns:
            mib = self.mib(guest) if guest.uri in self._local else 0.0
            await self._wait_for_room(mib)
            self._promised += mib
            try:
                yield
            finally:
                self._promised -= mib
                async with self._done:
                    self._done.notify_all()

    def mib(self, guest: Facts) -> float:
        """Return how much a save of the guest writes at most: pages it never touched cost nothing."""
        used = resident_mib(guest.name, self._root) if guest.uri in self._local else 0.0
        return min(used or guest.memory, guest.memory or used)

    async def _wait_for_room(self, mib: float) -> None:
        """Return when there is room, if need be after other saves. Raises NoRoomError."""
        if not mib:
            return
        while (free := await self._free_mib()) - self._promised < mib + _SPARE_MIB:
            if not self._promised:
                raise NoRoomError(f"/{FOLDER} has {free:.0f} MiB free, and it needs up to {mib:.0f} MiB")
            async with self._done:
                await self._done.wait()

    async def _free_mib(self) -> float:
        """Return the room for images; without limit if it cannot be told: then libvirt may try."""
        try:
            return await self._calls.run(_ANSWER_WITHIN, lambda: free_mib(self._root))
        except (OSError, CallTimeoutError):
            return float("inf")


def free_mib(root: Path) -> float:
    """Return the room in the save folder, without limit if images are compressed to an unknown size. Raises OSError."""
    try:
        if _COMPRESSED.search((root / "etc/libvirt/qemu.conf").read_text(errors="replace")):
            return float("inf")
    except FileNotFoundError:
        pass
    found = os.statvfs(root / FOLDER)
    return found.f_bavail * found.f_frsize / 2**20


def resident_mib(name: str, root: Path) -> float:
    """Return the memory that a local guest's QEMU really has, 0 if that cannot be told."""
    try:
        pid = int((root / f"run/libvirt/qemu/{name}.pid").read_text())
        sizes = _SIZES.findall((root / f"proc/{pid}/status").read_text())
    except (OSError, ValueError):
        return 0.0
    return sum(map(int, sizes)) / 1024
