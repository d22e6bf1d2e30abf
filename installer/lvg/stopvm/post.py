"""What other threads have for the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Post:
    """Has functions called in the loop's thread, in the order of sending; the loop is woken once for many of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._told = False

    def send(self, function: Callable[..., None], *args: object) -> None:
        """Have a function called; from any thread. A loop that has ended is no longer interested."""
        self._waiting.append((function, args))
        if not self._told:
            self._told = True
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._told = False  # before the first is taken: what is sent now is told of again
        try:
            while self._waiting:
                function, args = self._waiting.popleft()
                function(*args)
        finally:
            if self._waiting:  # one that raises takes nothing away from the others
                self.loop.call_soon(self._deliver)
