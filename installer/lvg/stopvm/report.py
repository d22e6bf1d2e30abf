"""Lines for people: to the journal with a priority, to a terminal without."""

import os
import select
import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # syslog(3)
_AT_ONCE = 1000  # characters: at most PIPE_BUF bytes, for which a pipe that has room has all of it (pipe(7))


def clean(text: str) -> str:
    """Return `text` on one line with control characters escaped: guests choose their own names."""
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def to_journal(stream: TextIO) -> bool:
    """True if `stream` is connected to the journal: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


@dataclass
class Report:
    """Says what happens, line by line, on standard error; a stream that is gone stops nothing."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    prefix: bool | None = None
    _patience: float = field(default=2.0, init=False)  # seconds

    def __post_init__(self) -> None:
        if self.prefix is None:
            self.prefix = to_journal(self.stream)

    def say(self, level: int, text: str) -> None:
        """Write one line at a syslog level."""
        line = f"<{level}>{clean(text)}\n" if self.prefix else f"stopvm: {clean(text)}\n"
        try:
            for start in range(0, len(line), _AT_ONCE):
                if not self._has_room():
                    return
                self.stream.write(line[start : start + _AT_ONCE])
                self.stream.flush()
        except (OSError, ValueError):
            return

    def _has_room(self) -> bool:
        """True if something can be written without a wait: a reader that stands still must not hold up any guest.

        A reader that is slow is waited for a while, all in all.
        """
        poll, begun = select.poll(), time.monotonic()
        try:
            poll.register(self.stream.fileno(), select.POLLOUT)
        except (OSError, ValueError):
            return True  # it is in memory
        found = poll.poll(self._patience * 1000)
        self._patience = max(self._patience - (time.monotonic() - begun), 0.0) if found else 0.0
        return bool(found)

    def err(self, text: str) -> None:
        """Something is wrong and guests may suffer."""
        self.say(ERR, text)

    def warning(self, text: str) -> None:
        """Something did not go as the policy says."""
        self.say(WARNING, text)

    def info(self, text: str) -> None:
        """Progress."""
        self.say(INFO, text)
