"""What is done to a guest that does not end by itself: it is saved, or destroyed."""

import asyncio

from . import decide
from .calls import CallTimeoutError
from .requests import ANSWER_WITHIN, Requests
from .saving import NoRoomError, Saves
from .session import LibvirtError
from .verdict import Time

_DESTROYED_WITHIN = 45.0  # seconds


class Force:
    """The last resorts for one guest."""

    def __init__(self, requests: Requests, saves: Saves, bypass_cache: bool) -> None:
        self.method = ""
        self.saving = False
        self._requests = requests
        self._ending = requests.ending
        self._saves = saves
        self._bypass_cache = bypass_cache

    async def save(self, time: Time) -> bool:
        """Save the guest; True if it is saved now. What keeps libvirt from it (a block job, a backup) is cancelled."""
        if why := decide.why_not_save(self._requests.facts):
            self._requests.note(f"save: {why}")
            return False
        self._ending.save_asked = self.saving = True
        done = await self._save(time)
        if not done and not self._ending.gone.is_set() and await self._jobs_cancelled():
            done = await self._save(time)
        if done:
            self._ending.settle("saved")
        if self._ending.how == "saved":
            self.method = "save"
        return self._ending.how == "saved"

    async def _save(self, time: Time) -> bool:
        clock = asyncio.get_running_loop().time
        facts = self._requests.facts
        try:
            async with asyncio.timeout(max(time.all - clock(), time.least_save)), self._saves.turn(facts):
                seconds = max(time.all - clock(), time.least_save)
                within = seconds + ANSWER_WITHIN
                return await self._requests.taken(
                    "save", lambda session: session.save(facts, self._bypass_cache, seconds), within, until_gone=False
                )
        except TimeoutError:
            self._requests.note("save: no time left")
        except NoRoomError as error:
            self._requests.warn(f"save: {error}")
        return False

    async def _jobs_cancelled(self) -> bool:
        try:
            cancelled = await self._requests.session.cancel_jobs(self._requests.facts)
        except (LibvirtError, CallTimeoutError) as error:
            self._requests.warn(f"its jobs cannot be cancelled: {error}")
            return False
        if cancelled:
            self._requests.warn(f"cancelled, to save it: {cancelled}")
        return bool(cancelled)

    async def destroy(self) -> bool:
        """End the guest, by SIGTERM first; True if that ended it."""
        for graceful in (True, False):
            await self._end(graceful)
            if self._ending.gone.is_set():
                return self._ending.how == "destroyed"
        return False

    async def put_away(self) -> None:
        """End the process of a guest that shut itself down; there is nothing left in it to lose."""
        await self._end(graceful=True)

    async def _end(self, graceful: bool) -> None:
        facts = self._requests.facts
        if await self._requests.taken(
            "destroy", lambda session: session.destroy(facts, graceful), _DESTROYED_WITHIN, until_gone=False
        ):
            self.method = self.method if self._ending.finished else "destroy"
            self._ending.settle("destroyed")
