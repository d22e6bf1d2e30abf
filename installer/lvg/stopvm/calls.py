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
    """At most `slots` calls at once that are within their deadline; a thread that is stuck is given up.

    `quick` of them are for calls that take no time of their own, which so never queue behind guest agents that hang.
    libvirtd has 20 threads for such calls (max_workers), so there is no use in more.
    """

    def __init__(self, slots: int = 16, quick: int = 4) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._slow = asyncio.Semaphore(max(slots - quick, 1))
        self._idle: list[_Worker] = []

    async def room(self) -> None:
        """Return when a call would not have to wait for others."""
        async with self._slots:
            return

    async def run(self, seconds: float, function: Callable[[], T], *, quick: bool = False) -> T:
        """Return what `function` returns, or raise what it raises; CallTimeoutError after `seconds`."""
        if quick:
            return await self._run(seconds, function)
        async with self._slow:
            return await self._run(seconds, function)

    async def _run(self, seconds: float, function: Callable[[], T]) -> T:
        async with self._slots:
            worker = self._idle.pop() if self._idle else _Worker(self._idle.append)
            loop = asyncio.get_running_loop()
            future: asyncio.Future[T] = loop.create_future()
            timer = loop.call_later(max(seconds, 0.01), _give_up, future, seconds)
            worker.give(function, future)
            try:
                return await future
            finally:
                timer.cancel()
                future.cancel()  # nobody waits for it any more


def _give_up(future: "asyncio.Future[T]", seconds: float) -> None:
    if not future.done():
        future.set_exception(CallTimeoutError(f"no answer from libvirt within {seconds:.0f} s"))


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
