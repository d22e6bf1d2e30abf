"""The end of a local guest's QEMU process, for when libvirt can no longer tell."""

import asyncio
import os
from pathlib import Path

from .ending import ROOT


async def process_end(name: str, root: Path = ROOT) -> bool:
    """Return once the guest's QEMU process has ended, at once if it already has. False: it cannot be watched.

    A pidfd needs no right to signal the process, and a pid that is used again cannot deceive it.
    """
    file = root / f"run/libvirt/qemu/{name}.pid"
    try:
        handle = os.pidfd_open(int(file.read_text()))
    except (FileNotFoundError, ProcessLookupError):
        return True
    except (OSError, ValueError):
        return False  # libvirt or the deadline will tell
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return True
