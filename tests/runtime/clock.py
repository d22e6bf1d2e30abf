"""An event loop that does not wait: where nothing but time can go on, its clock jumps to the next timer."""

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Skips what it would only sleep; with files, sockets, processes or threads to wait for it waits as ever."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0  # seconds
        self._threads = threading.active_count()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        only_the_loops_own = len(self.get_map()) <= 1 and threading.active_count() <= self._threads
        if timeout is None or timeout <= 0 or not only_the_loops_own:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self.skipped += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skips = _Selector()
        super().__init__(self._skips)

    def time(self) -> float:
        return super().time() + self._skips.skipped


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
