"""The end of a local guest's QEMU process, for when libvirt can no longer tell."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

PID_FILES = Path("/run/libvirt/qemu")


def when_process_ends(name: str, tell: Callable[[], None], folder: Path = PID_FILES) -> None:
    """Call `tell` in the running loop when the guest's QEMU process has ended, at once if it has already.

    libvirtd removes the pid file when a guest stops. A pidfd needs no right to signal the process, and a
    pid that is used again cannot deceive it.
    """
    loop = asyncio.get_running_loop()
    try:
        pid = int((folder / f"{name}.pid").read_text())
        handle = os.pidfd_open(pid)
    except (FileNotFoundError, ProcessLookupError):
        loop.call_soon(tell)
        return
    except (OSError, ValueError):
        return  # it cannot be watched: libvirt or the deadline will tell

    def ended() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        tell()

    loop.add_reader(handle, ended)
