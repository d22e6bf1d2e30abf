"""Blocking calls in threads, each with a deadline of its own; one that never returns holds up nothing.

concurrent.futures waits for its threads at exit and never replaces a stuck one; this does neither.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class CallTimeoutError(Exception):
    """A call did not return in time. It may still have an effect."""


class Calls:
    """At most `slots` calls at once that are within their deadline; a thread that is stuck is given up."""

    def __init__(self, slots: int = 16) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._idle: list[_Worker] = []

    async def run(self, seconds: float, function: Callable[[], T]) -> T:
        """Return what `function` returns, or raise what it raises; CallTimeoutError after `seconds`."""
        async with self._slots:
            worker = self._idle.pop() if self._idle else _Worker(self._idle.append)
            future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            worker.give(function, future)
            try:
                done, _ = await asyncio.wait([future], timeout=max(seconds, 0.01))
                if not done:
                    raise CallTimeoutError(f"no answer from libvirt within {seconds:.0f} s")
                return future.result()
            finally:
                future.cancel()  # nobody waits for it any more


class _Worker:
    """A thread that does one call after another; it never keeps the program from ending."""

    def __init__(self, idle: "Callable[[_Worker], None]") -> None:
        self._idle = idle
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._todo.get()()

    def give(self, function: Callable[[], T], future: "asyncio.Future[T]") -> None:
        """Call `function` in the thread; its result goes to `future`, in the loop's thread."""
        self._todo.put(lambda: self._do(function, future))

    def _do(self, function: Callable[[], T], future: "asyncio.Future[T]") -> None:
        def settle(put: Callable[[], None]) -> None:
            self._idle(self)
            if not future.done():
                put()

        put: Callable[[], None]
        try:
            result = function()
            put = lambda: future.set_result(result)  # noqa: E731  # a value for `settle`, not a function to name
        except Exception as error:
            caught = error
            put = lambda: future.set_exception(caught)  # noqa: E731
        with suppress(RuntimeError):  # the loop has ended meanwhile
            future.get_loop().call_soon_threadsafe(settle, put)
