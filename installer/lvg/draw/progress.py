"""A bar for something that takes at most a known time, with lines of text that scroll by above it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from lvg.draw.terminal import has_unicode, words


class Bar:
    """A bar on standard error. It moves when `tick` is called, so that no thread is needed."""

    def __init__(self, what: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(
            stderr=True,
            highlight=False,
            markup=False,
            emoji=False,
            color_system=None if os.environ.get("NO_COLOR") else "auto",
        )
        bar = [BarColumn(24)] if has_unicode() else []
        columns = (SpinnerColumn("line"), TextColumn("{task.description}", markup=False), *bar)
        self._progress = Progress(
            *columns, TextColumn("{task.fields[time]}", markup=False), console=self._console, auto_refresh=False,
            transient=True,
        )  # fmt: skip
        self._clock = clock
        self._task = self._progress.add_task(what)
        self.change(what, seconds)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def change(self, what: str, seconds: float | None) -> None:
        """Begin another part, which takes at most so many seconds, None if nobody knows."""
        self._begin, self._seconds = self._clock(), seconds
        self._progress.remove_task(self._task)  # only a new one can have no known end
        self._task = self._progress.add_task(words(what).plain, total=seconds, time="")
        self.tick()

    def tick(self) -> None:
        """Show how much time has passed."""
        passed = self._clock() - self._begin
        text = f"{passed:.0f} s" if self._seconds is None else f"{passed:.0f} of at most {self._seconds:.0f} s"
        self._progress.update(self._task, completed=min(passed, self._seconds or passed), time=text)
        self._progress.refresh()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(words(line))
