"""Watching a rehearsal at work: its lines, the times at which guests are back, and Ctrl-C, which must end nothing."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from lvg.rehearsal.work import STARTING, Worker
from lvg.stopvm.report import clean

_TICK = 0.2  # seconds
_BACK = ("started", "resumed", "running")  # stopvm's words for a guest that is back


class Screen(Protocol):
    """Where lines go while guests are stopped and started."""

    def say(self, line: str) -> None:
        """Show a line."""

    def change(self, what: str, seconds: float | None) -> None:
        """Begin another part of the work, which takes at most so many seconds, None if nobody knows."""

    def tick(self) -> None:
        """Take that some time has passed."""


@dataclass
class Interrupts:
    """Counts Ctrl-C."""

    count: int = 0
    _said: int = 0

    def hear(self, _number: int, _frame: FrameType | None) -> None:
        """Take a signal."""
        self.count += 1

    def answers(self, names: Sequence[str]) -> Iterator[str]:
        """Yield what is to be said about each Ctrl-C since the last time."""
        while self._said < self.count:
            self._said += 1
            if self._said == 1:
                yield f"Ctrl-C: the stop of {', '.join(names)} has begun and cannot be called back."
                yield "  Waiting for its end: then it is started again, even if this terminal is closed."
            else:
                yield "  Still at work. What happens is shown by: stopvm status; virsh list --all"


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Count Ctrl-C from here on, in place of what it does otherwise."""
    found = Interrupts()
    before = signal.signal(signal.SIGINT, found.hear)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class Watch:
    """Shows what happens to these guests. `back` has the seconds that each start took, once it was seen."""

    names: Sequence[str]
    screen: Screen
    pressed: Interrupts
    back: dict[str, float] = field(default_factory=dict)
    _starting: float | None = None

    def until_done(self, worker: Worker) -> None:
        """Return when the work is done."""
        for line in _lines(worker):
            for text in self.pressed.answers(self.names):
                self.screen.say(text)
            if line is None:
                self.screen.tick()
            else:
                self.screen.say(line)
                self._take(line)

    def _take(self, line: str) -> None:
        if line == STARTING:
            self._starting = time.monotonic()
            self.screen.change(f"starting {', '.join(self.names)}", None)
        for name in self.names if self._starting is not None else ():
            if line.startswith(tuple(f"stopvm: {clean(name)}: {word}" for word in _BACK)):
                self.back[name] = time.monotonic() - (self._starting or 0.0)


def _lines(worker: Worker) -> Iterator[str | None]:
    """Yield each line, and None after every tick, until the work is done."""
    rest, done = b"", False
    while not done:
        done = worker.is_done()  # asked first: what it wrote before its end is then read below
        while select.select([worker.output], [], [], 0 if done else _TICK)[0]:
            data = os.read(worker.output, 65536)
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="backslashreplace") for line in whole)
        yield None
    if rest:
        yield rest.decode(errors="backslashreplace")
    os.close(worker.output)
