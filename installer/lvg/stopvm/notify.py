"""What systemd is told while we work: "give me more time" and one line of state (sd_notify(3))."""

import faulthandler
import os
import socket
from contextlib import suppress

from .report import clean

EXTEND_BY = 10.0  # seconds; systemd ends us that long after the last request
EXTEND_EVERY = 3.0  # seconds
_DIGITS = 7  # a watchdog that waits for weeks is none


class Notifier:
    """Talks to the socket in $NOTIFY_SOCKET; without one it does nothing. Never blocks, never fails.

    `watchdog`: where no systemd is, the seconds after which this program ends itself unless it extends its time.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._watchdog = watchdog
        self._rearm()
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            with suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)

    @classmethod
    def from_environment(cls) -> "Notifier":
        """Use $NOTIFY_SOCKET, and take it out of the environment, so that no command of ours speaks for us.

        OpenRC's init script sets $STOPVM_WATCHDOG.
        """
        seconds = os.environ.pop("STOPVM_WATCHDOG", "")
        sound = seconds.isdecimal() and len(seconds) < _DIGITS
        return cls(os.environ.pop("NOTIFY_SOCKET", ""), float(seconds) if sound else 0.0)

    def environment(self) -> dict[str, str]:
        """Return what a program needs in its environment that takes the place of this one."""
        found = {"NOTIFY_SOCKET": "@" + self._address[1:] if self._address[:1] == "\0" else self._address}
        found |= {"STOPVM_WATCHDOG": f"{self._watchdog:.0f}"} if self._watchdog else {}
        return {key: value for key, value in found.items() if value}

    def extend(self) -> None:
        """Ask for EXTEND_BY more seconds. Called by the loop that does the work, so a hang ends it."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(EXTEND_BY * 1_000_000)}")
        self._rearm()

    def _rearm(self) -> None:
        if self._watchdog:  # a thread in C, which a hung interpreter does not hold up
            faulthandler.dump_traceback_later(self._watchdog, exit=True)

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(f"STATUS={clean(text)}")

    def _send(self, message: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto(message.encode("utf-8", "replace"), self._address)
