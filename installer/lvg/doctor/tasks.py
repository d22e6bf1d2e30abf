"""Calls that may hang, each in a thread of its own, so that they run at the same time and nobody waits for ever."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from lvg.errors import LvgError

T = TypeVar("T")


class Task(Generic[T]):
    """A call at work. Its thread is a daemon: one that hangs does not keep the program from ending."""

    def __init__(self, what: str, call: Callable[[], T]) -> None:
        self._what = what
        self._call = call
        self._done: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=what, daemon=True).start()

    def _work(self) -> None:
        try:
            self._done.put((self._call(), None))
        except Exception as error:  # it is raised again where the answer is wanted
            self._done.put((None, error))

    def result(self, seconds: float) -> T:
        """Return what the call returned. Raises LvgError if it takes longer, else what the call raised."""
        try:
            value, error = self._done.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            raise LvgError(f"{self._what}: no answer in {seconds:.0f} s") from None
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # it is T when there is no error
