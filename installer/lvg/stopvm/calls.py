"""Blocking calls in threads, each with a deadline of its own; one that never returns holds up nothing.

concurrent.futures waits for its threads at exit and never replaces a stuck one; this does neither.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .post import Post

T = TypeVar("T")
_QUEUED = 64  # calls that may wait for a thread before there is no room
_LOOK_AFTER = 0.05  # seconds; calls that take longer are slow, and those behind them get more threads


class CallTimeoutError(Exception):
    """A call did not return in time. It may still have an effect."""


class Calls:
    """At most `slots` calls at once that are within their deadline; a thread that is stuck is given up.

    There is a lane for `quick` calls, which take no time of their own: they never queue behind guest agents that hang.
    libvirtd has 20 threads for such calls (max_workers), so there is no use in more.
    """

    def __init__(self, slots: int = 16, quick: int = 4) -> None:
        slow = max(slots - quick, 1)
        self._quick = _Lane(min(quick, slots), slots)
        self._slow = _Lane(slow, slow)

    async def room(self) -> None:
        """Return when not many calls wait for others."""
        await self._quick.room()
        await self._slow.room()

    async def run(self, seconds: float, function: Callable[[], T], *, quick: bool = False) -> T:
        """Return what `function` returns, or raise what it raises; CallTimeoutError after `seconds`."""
        lane = self._quick if quick else self._slow
        call = lane.take(function, max(seconds, 0.01))
        try:
            result: T = await call.future
        finally:
            lane.drop(call)
        return result


@dataclass(eq=False, repr=False, slots=True)
class _Call:
    """One call. `began`: by the monotonic clock, 0 while it waits for a thread."""

    function: Callable[[], Any]
    future: "asyncio.Future[Any]"
    post: Post
    seconds: float
    began: float = 0.0
    ended: bool = False


class _Lane:
    """Calls that share threads: `few` at first, up to `most` while they are slow. Used from one event loop at a time.

    A thread takes the next call by itself and tells of many results at once: a switch to the loop's thread and back
    takes longer than a quick call does.
    """

    def __init__(self, few: int, most: int) -> None:
        self._few, self._most = few, most
        self._todo: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._open: dict[_Call, None] = {}
        self._given_up: list[_Call] = []  # nobody waits for them any more, but threads may
        self._threads = 0
        self._post: Post | None = None
        self._watched = False
        self._space: asyncio.Future[None] | None = None

    async def room(self) -> None:
        """Return when not many calls wait for a thread."""
        while len(self._open) >= self._most + _QUEUED:
            self._space = self._space or asyncio.get_running_loop().create_future()
            await asyncio.wait([self._space])

    def take(self, function: Callable[[], Any], seconds: float) -> _Call:
        """Put a call in the queue."""
        loop = asyncio.get_running_loop()
        if self._post is None or self._post.loop is not loop:
            self._post = Post(loop)
        call = _Call(function, loop.create_future(), self._post, seconds)
        self._open[call] = None
        self._todo.put(call)
        if self._at_hand() < min(self._few, len(self._open)):
            self._start_thread()
        if not self._watched:
            self._watched = True
            loop.call_later(min(seconds, _LOOK_AFTER), self._look)
        return call

    def drop(self, call: _Call) -> None:
        """Take a call out, finished or not; the thread that is still at it is given up."""
        del self._open[call]
        call.future.cancel()  # if it waits for a thread, none begins it any more
        if call.began and not call.ended:
            self._given_up.append(call)
        if self._space and len(self._open) < self._most + _QUEUED:
            self._space.set_result(None)
            self._space = None

    def _at_hand(self) -> int:
        """Return how many threads there are but for those that are given up."""
        self._given_up = [call for call in self._given_up if not call.ended]
        return self._threads - len(self._given_up)

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, daemon=True).start()

    def _look(self) -> None:
        """Give up what takes too long, and start another thread if calls wait behind slow ones."""
        now = time.monotonic()
        for call in self._open:
            if call.began and now - call.began >= call.seconds and not call.future.done():
                call.future.set_exception(CallTimeoutError(f"no answer from libvirt within {call.seconds:.0f} s"))
        began = [call for call in self._open if call.began]
        waiting = len(began) < len(self._open)
        if waiting and self._at_hand() < self._most and all(now - call.began >= _LOOK_AFTER for call in began):
            self._start_thread()
        self._watched = bool(self._open)
        if self._watched:
            due = min(call.began + call.seconds - now for call in began) if began and not waiting else _LOOK_AFTER
            next(iter(self._open)).future.get_loop().call_later(max(due, 0.01), self._look)

    def _work(self) -> None:
        while True:
            call = self._todo.get()
            if call.future.done():
                continue
            call.began = time.monotonic()
            result, error = None, None
            try:
                result = call.function()
            except Exception as caught:
                error = caught
            call.ended = True
            call.post.send(_settle, call.future, result, error)


def _settle(future: "asyncio.Future[Any]", result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)
