"""A real terminal of 80 columns with a program on it, and an emulator that tells what a person sees there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pyte

COLUMNS = 80
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
_ROWS = 300  # nothing scrolls away


def on_terminal(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[int, bytes]:
    """Run a command on a terminal of its own; return its exit code and every byte that it wrote there."""
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 25, COLUMNS, 0, 0))
    with subprocess.Popen(
        command, stdin=inner, stdout=inner, stderr=inner, cwd=folder, env=environment, start_new_session=True
    ) as program:
        os.close(inner)
        written = b""
        with suppress(OSError):  # EIO: nobody has the terminal open any more
            while chunk := os.read(terminal, 65536):
                written += chunk
        os.close(terminal)
    return program.returncode, written


def screen(written: bytes) -> pyte.Screen:
    """Return the screen of a terminal emulator that was sent these bytes."""
    found = pyte.Screen(COLUMNS, _ROWS)
    pyte.ByteStream(found).feed(written)
    return found


def shown(written: bytes) -> list[str]:
    """Return the lines that a person sees, down to the last one that is not empty."""
    lines = [line.rstrip() for line in screen(written).display]
    return lines[: max((number for number, line in enumerate(lines, 1) if line), default=0)]


def sent(written: bytes) -> list[str]:
    """Return the lines that were sent, without the changes of colour: what is too wide is still in one line here."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", written.decode())
    return [line.rstrip() for line in text.replace("\r\n", "\n").rstrip("\n").split("\n")]
