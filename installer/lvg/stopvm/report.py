"""Lines for people: to the journal with a priority, to a terminal without."""

import os
import sys
from dataclasses import dataclass, field
from typing import TextIO

ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # syslog(3)


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

    def __post_init__(self) -> None:
        if self.prefix is None:
            self.prefix = to_journal(self.stream)

    def say(self, level: int, text: str) -> None:
        """Write one line at a syslog level."""
        line = f"<{level}>{clean(text)}\n" if self.prefix else f"stopvm: {clean(text)}\n"
        try:
            self.stream.write(line)
            self.stream.flush()
        except (OSError, ValueError):
            return

    def err(self, text: str) -> None:
        """Something is wrong and guests may suffer."""
        self.say(ERR, text)

    def warning(self, text: str) -> None:
        """Something did not go as the policy says."""
        self.say(WARNING, text)

    def info(self, text: str) -> None:
        """Progress."""
        self.say(INFO, text)
