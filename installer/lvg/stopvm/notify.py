"""What systemd is told while we work: "give me more time" and one line of state (sd_notify(3))."""

import os
import socket
from contextlib import suppress

from .report import clean

EXTEND_BY = 10.0  # seconds; systemd ends us that long after the last request
EXTEND_EVERY = 3.0  # seconds


class Notifier:
    """Talks to the socket in $NOTIFY_SOCKET; without one it does nothing. Never blocks, never fails."""

    def __init__(self, address: str = "") -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            with suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)

    @classmethod
    def from_environment(cls) -> "Notifier":
        """Use $NOTIFY_SOCKET, and take it out of the environment, so that no command of ours speaks for us."""
        return cls(os.environ.pop("NOTIFY_SOCKET", ""))

    def extend(self) -> None:
        """Ask for EXTEND_BY more seconds. Called by the loop that does the work, so a hang ends it."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(EXTEND_BY * 1_000_000)}")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(f"STATUS={clean(text)}")

    def _send(self, message: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto(message.encode("utf-8", "replace"), self._address)
