"""How one guest is stopped, step by step. Nothing it meets may keep another guest from being stopped."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from . import decide, hooks, jobs, timing
from .decide import Facts
from .ending import Ending
from .flag import Flag
from .force import Force
from .policy import GuestPolicy
from .report import Report
from .requests import ANSWER_WITHIN, Requests
from .saving import Saves
from .session import Session
from .verdict import MOVED, Time, Verdict

_CRASH_DEALT_WITH = 8.0  # seconds in which libvirt ends or restarts a guest that crashed, if it is to
_PUT_AWAY_AFTER = 15.0  # seconds after its own end that libvirt has to end a guest's process


class GuestStop:
    """One guest on its way down."""

    def __init__(self, facts: Facts, policy: GuestPolicy, session: Session, saves: Saves) -> None:
        self.facts = facts
        self.policy = policy
        self.settled = Flag()  # there is a verdict
        self.ending = Ending()
        self.requests = Requests(facts, session, self.ending)
        self.save_seconds = timing.save_seconds(saves.mib(facts)) if decide.may_be_saved(facts, policy) else 0.0
        self._force = Force(self.requests, saves, policy.bypass_cache)
        self._method = ""
        self.by_qemu = False  # libvirt is gone: QEMU itself is asked

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one guest among those of all URIs."""
        return self.facts.uri, self.facts.uuid

    @property
    def gone(self) -> bool:
        """True if it is known to have ended."""
        return self.ending.gone.is_set()

    @property
    def asked_as(self) -> Facts:
        """The facts that decide what is done: without libvirt a paused guest is not saved, and runs on when asked."""
        without_libvirt = self.by_qemu and self.facts.state == "paused"
        return replace(self.facts, state="running") if without_libvirt else self.facts

    @property
    def may_be_cut_short(self) -> bool:
        """True if it could be saved now and nobody does so yet."""
        return self.save_seconds > 0 and not (self.settled.is_set() or self._force.saving or self.ending.hurried)

    def go_on_without_libvirt(self, session: Session) -> None:
        """Use a session that talks to QEMU itself from now on."""
        self.by_qemu, self.save_seconds = True, 0.0
        self.policy = decide.without_libvirt(self.policy)
        self.requests.reach(session)

    async def stop(self, time: Time, report: Report) -> Verdict:
        """Stop it, and return what became of it; never raises."""
        self.requests.report, self.requests.until = report, time.wave
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            verdict, wanted = await self._steps(time)
        except Exception as error:  # a fault of ours in one guest must not reach the others
            self.requests.note(f"stopvm: {error!r}")
            verdict, wanted = "left", False
        if self.ending.crashed and verdict == "saved":
            self.facts = replace(self.facts, state="crashed")  # and so it will come back
        method = self._force.method or ("qmp" if self.by_qemu and self.gone else self._method)
        return Verdict(verdict, wanted, self.requests.notes, method, round(clock() - started, 1))

    async def _steps(self, time: Time) -> tuple[str, bool]:
        step = decide.opening(self.asked_as, self.policy)
        if step == "leave":
            self.requests.note("left to libvirt-guests, as the policy says")
            return "left", True
        if not self.ending.hurried:
            step = await hooks.before_stop(self.requests, self.policy, time.wave) or step
        if step == "skip":
            return "left", False
        if step in ("ask", "save"):
            await jobs.wait_for_other(self.requests, time.wave)
        if step == "wake":
            step = "ask" if await self._taken("wake", lambda session: session.wake(self.facts)) else "save"
        if step == "ask" and not await self._ends_at_poweroff():
            step = "save"
        if step == "save":
            if not self.by_qemu and await self._force.save(time):
                return "saved", True
            step = await self._instead_of_save()
        if step in ("ask", "wait") and not self.gone:
            await self._ask(time, press=step == "ask")
        return await self._at_deadline(time)

    def _taken(
        self, what: str, request: Callable[[Session], Awaitable[None]], seconds: float = 30.0
    ) -> Awaitable[bool]:
        return self.requests.taken(what, request, seconds)

    async def _ends_at_poweroff(self) -> bool:
        """True if a shutdown of the guest's is its end; on_poweroff=restart and preserve are changed for this run."""
        if self.facts.on_poweroff == "destroy" or self.gone:
            return True
        return await self._taken("on_poweroff", lambda session: session.end_at_poweroff(self.facts))

    async def _instead_of_save(self) -> str:
        if self.facts.state == "crashed" or self.gone:
            return "timeout"
        paused = self.facts.state == "paused"
        if paused and not await self._taken("resume", lambda session: session.resume(self.facts)):
            return "timeout"
        return "ask" if await self._ends_at_poweroff() else "timeout"  # else asked to shut down it starts again

    async def _ask(self, time: Time, press: bool) -> None:
        """Ask by each method in turn, press again, and return when it is gone or past its deadline."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        deadline = begun + timing.guest_seconds(self.policy, time.wave - begun, self.save_seconds)
        self.requests.until = deadline
        presses, ways = 0, decide.methods(self.facts, self.policy) if press else ()
        for way in ways:
            if self.gone or clock() >= deadline or await self._request(way, deadline - clock()):
                self._method, presses = way, int(way == "acpi")
                break
        else:
            if ways == ("agent",):
                return  # only the agent is wanted, and it does not do it
        while not await self._no_use(deadline - clock()) and clock() < deadline:
            pause = decide.next_press(self.policy, presses) if press else None
            await self.ending.wait(min(deadline, clock() + pause) - clock() if pause else deadline - clock())
            if not self.ending.stirred and clock() < deadline and await self._request("acpi", deadline - clock()):
                self._method, presses = "acpi", presses + 1
        await self._put_away()
        if not self.gone:
            why = "it has crashed" if self.ending.crashed else "time runs short" if self.ending.hurried else ""
            self.requests.report.warning(decide.late(self.facts, self.policy, clock() - begun, why))

    async def _no_use(self, seconds: float) -> bool:
        """True if there is no use in asking (again)."""
        if self.ending.crashed:
            await self.ending.wait_gone(min(_CRASH_DEALT_WITH, seconds))
        return self.ending.stirred

    def _request(self, way: str, seconds: float) -> Awaitable[bool]:
        return self._taken(way, lambda session: session.ask(self.facts, way), min(seconds, ANSWER_WITHIN))

    async def _put_away(self) -> None:
        """Give a guest that shut itself down the time to be gone, and help if its process stays."""
        if self.ending.finished and not self.gone:
            await self.ending.wait_gone(_PUT_AWAY_AFTER)
        if self.ending.finished and not self.gone:
            await self._force.put_away()

    async def _at_deadline(self, time: Time) -> tuple[str, bool]:
        self.requests.until = 0.0
        if self.ending.crashed:
            self.requests.note("its kernel panicked")
        for step in self.policy.on_timeout:
            if self.gone or step == "leave":
                break
            if step == "save" and not self.ending.finished and await self._force.save(time):
                return "saved", False
            if step == "destroy" and await self._force.destroy():
                return "destroyed", False
        await self.ending.last_news()
        return self._ended_verdict() if self.gone else ("left", False)

    def _ended_verdict(self) -> tuple[str, bool]:
        how = self.ending.how
        if how == "lost" and not self.ending.crashed:
            self.requests.note("its process ended, with no sign that the guest shut down")
        if how == "moved":
            self.requests.note("it moved to another host")
            self._method = MOVED
            return "clean", True
        return how, how in ("clean", "saved")
