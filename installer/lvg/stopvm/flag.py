"""A flag that can be waited for."""

import asyncio


class Flag:
    """As asyncio.Event, but free while nobody waits: a guest has several, and there may be 10,000 guests.

    A wait needs no task of its own, and none of its flags is lost with a wait that is cancelled.
    """

    __slots__ = ("_future", "_set")

    def __init__(self) -> None:
        self._set = False
        self._future: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """True if it is up."""
        return self._set

    def set(self) -> None:
        """Put it up, and wake all that wait."""
        self._set = True
        if self._future and not self._future.done():
            self._future.set_result(None)

    def clear(self) -> None:
        """Take it down."""
        self._set, self._future = False, None

    def future(self) -> "asyncio.Future[None]":
        """Return what is done once the flag is up: for asyncio.wait alone, since others have it too."""
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
            if self._set:
                self._future.set_result(None)
        return self._future

    async def wait(self, seconds: float | None = None) -> bool:
        """Return when it is up, or after `seconds`. True if it is up."""
        if not self._set and (seconds is None or seconds > 0):
            await asyncio.wait([self.future()], timeout=seconds)
        return self._set
