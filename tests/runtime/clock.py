"""An event loop that does not wait: where nothing but time can go on, its clock jumps to the next timer.

Only waiting takes time: while code runs, the clock stands still, however long a busy machine needs for it.
"""

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Skips what it would only sleep; with files, sockets, processes or threads to wait for it waits as ever."""

    def __init__(self) -> None:
        super().__init__()
        self.now = time.monotonic()  # seconds; an earlier stop's begin may be told by the monotonic clock
        self._others = set(threading.enumerate())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        if timeout is not None and len(self.get_map()) <= 1 and self._others.issuperset(threading.enumerate()):
            ready = super().select(0)
            self.now += 0.0 if ready else timeout
            return ready
        begin = time.monotonic()
        ready = super().select(timeout)
        waited = time.monotonic() - begin
        self.now += waited if timeout is None else min(waited, timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._waits = _Selector()
        super().__init__(self._waits)

    def time(self) -> float:
        return self._waits.now


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """As asyncio.run, without the waiting. Times are still what they would have been, and exact."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


class AtOnce:
    """Stands in for Calls where no call hangs: without a thread, which would have to be waited for."""

    def __init__(self, _slots: int = 1) -> None:
        pass

    async def run(self, _seconds: float, function: Callable[[], Any]) -> Any:
        return function()
