"""The end of a local guest's QEMU process, for when libvirt can no longer tell."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

PID_FILES = Path("/run/libvirt/qemu")


_CLEANED_UP_WITHIN = 0.5  # seconds; libvirtd removes the pid file right after the process


def when_process_ends(name: str, tell: Callable[[str], None], folder: Path = PID_FILES) -> None:
    """Call `tell` in the running loop once the guest's QEMU process has ended, soon if it already has.

    A QEMU of libvirt's stays until libvirtd has seen the guest's shutdown and ends it, and then libvirtd
    removes the pid file: `tell` gets "clean" if it is gone, "lost" if the process ended otherwise. A pidfd
    needs no right to signal the process, and a pid that is used again cannot deceive it.
    """
    loop = asyncio.get_running_loop()
    file = folder / f"{name}.pid"

    def judge() -> None:
        loop.call_later(_CLEANED_UP_WITHIN, lambda: tell("lost" if file.exists() else "clean"))

    try:
        handle = os.pidfd_open(int(file.read_text()))
    except (FileNotFoundError, ProcessLookupError):
        judge()
        return
    except (OSError, ValueError):
        return  # it cannot be watched: libvirt or the deadline will tell

    def ended() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        judge()

    loop.add_reader(handle, ended)
