"""How one guest is stopped, step by step. Nothing it meets may keep another guest from being stopped."""

import asyncio
from collections.abc import Awaitable

from . import decide, hooks
from .calls import CallTimeoutError
from .decide import Facts
from .ending import Ending
from .policy import Command, GuestPolicy
from .report import Report
from .session import LibvirtError, Session
from .verdict import MOVED, Time, Verdict

_ANSWER_WITHIN = 25.0  # seconds for a request, on top of the session's own limits
_DESTROYED_WITHIN = 45.0  # seconds


class GuestStop:
    """One guest on its way down."""

    def __init__(self, facts: Facts, policy: GuestPolicy, session: Session, saves: asyncio.Semaphore) -> None:
        self.facts = facts
        self.policy = policy
        self.settled = asyncio.Event()  # there is a verdict
        self._session = session
        self._saves = saves
        self.ending = Ending()
        self._tried: list[str] = []
        self._method = ""
        self._report = Report()

    @property
    def gone(self) -> bool:
        """True if it is known to have ended."""
        return self.ending.gone.is_set()

    async def stop(self, time: Time, report: Report) -> Verdict:
        """Stop it, and return what became of it; never raises."""
        self._report = report
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            verdict, wanted = await self._steps(time)
        except Exception as error:  # a fault of ours in one guest must not reach the others
            self._tried.append(f"stopvm: {error!r}")
            verdict, wanted = "left", False
        return Verdict(verdict, wanted, "; ".join(self._tried), self._method, round(clock() - started, 1))

    async def _steps(self, time: Time) -> tuple[str, bool]:
        step = decide.opening(self.facts, self.policy)
        if step == "leave":
            self._tried.append("left to libvirt-guests, as the policy says")
            return "left", True
        step = await self._before_stop(step, time)
        if step == "skip":
            return "left", False
        if step == "wake":
            step = "ask" if await self._try("wake", self._session.wake(self.facts)) else "save"
        if step == "save":
            if await self._save(time):
                return "saved", True
            step = await self._instead_of_save()
        if step in ("ask", "wait") and not self.gone:
            await self._ask(time, press=step == "ask")
        return await self._at_deadline(time)

    async def _before_stop(self, step: str, time: Time) -> str:
        """Run the commands, in the guest and then on the host, and return the step to go on with."""
        commands = [("before_stop", command) for command in self.policy.before_stop]
        commands += [("before_stop_host", command) for command in self.policy.before_stop_host]
        for where, command in commands:
            seconds = min(self.policy.hook_timeout, max(time.wave - asyncio.get_running_loop().time(), 1.0))
            run = hooks.run_on_host if where == "before_stop_host" else self._run_in_guest
            wrong = await run(command, self.facts, seconds, self._report)
            if not wrong:
                continue
            self._tried.append(f"{where}: {wrong}")
            self._report.warning(f"{self.facts.name}: {where}: {wrong} ({self.policy.on_hook_failure})")
            if self.policy.on_hook_failure != "continue":
                return self.policy.on_hook_failure
        return step

    async def _run_in_guest(self, command: Command, guest: Facts, seconds: float, report: Report) -> str:
        """Run one command in the guest and return what went wrong, "" if nothing did."""
        if not guest.agent:
            return f"{command[0]}: the guest's agent is not there"
        try:
            running = self._session.execute(guest, command, seconds)
            code, output = await asyncio.wait_for(running, seconds + _ANSWER_WITHIN)
        except (LibvirtError, CallTimeoutError, TimeoutError) as error:
            return f"{command[0]}: {error or 'no answer'}"
        hooks.show(output, command, guest, report)
        return f"{command[0]}: exit code {code}" if code else ""

    async def _instead_of_save(self) -> str:
        if self.facts.on_poweroff == "restart":
            return "timeout"  # asked to shut down it would only start again
        if self.facts.state == "paused" and not self.gone:
            return "ask" if await self._try("resume", self._session.resume(self.facts)) else "timeout"
        return "timeout" if self.facts.state == "crashed" else "ask"

    async def _ask(self, time: Time, press: bool) -> None:
        """Ask by each method in turn, press again, and return when it is gone or past its deadline."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        deadline = begun + decide.guest_seconds(self.policy, time.wave - begun)
        presses, ways = 0, decide.methods(self.facts, self.policy) if press else ()
        for way in ways:
            if self.gone or clock() >= deadline or await self._request(way, deadline - clock()):
                self._method, presses = way, int(way == "acpi")
                break
        else:
            if ways == ("agent",):
                return  # only the agent is wanted, and it does not do it
        while not self.gone and clock() < deadline:
            pause = decide.next_press(self.policy, presses) if press else None
            await self.ending.wait(min(deadline, clock() + pause) - clock() if pause else deadline - clock())
            if not self.gone and clock() < deadline and await self._request("acpi", deadline - clock()):
                self._method, presses = "acpi", presses + 1
        if not self.gone:
            self._report.warning(decide.late(self.facts, self.policy, clock() - begun))

    async def _request(self, way: str, seconds: float) -> bool:
        return await self._try(way, self._session.ask(self.facts, way), min(seconds, _ANSWER_WITHIN))

    async def _at_deadline(self, time: Time) -> tuple[str, bool]:
        for step in self.policy.on_timeout:
            if self.gone or step == "leave":
                break
            if step == "save" and await self._save(time):
                return "saved", False
            if step == "destroy" and await self._destroy():
                return "destroyed", False
        await self.ending.last_news()
        return self._ended_verdict() if self.gone else ("left", False)

    def _ended_verdict(self) -> tuple[str, bool]:
        how = self.ending.how
        if how == "lost":
            self._tried.append("its process ended, with no sign that the guest shut down")
        if how == "moved":
            self._tried.append("it moved to another host")
            self._method = MOVED
            return "clean", True
        return how, how in ("clean", "saved")

    async def _save(self, time: Time) -> bool:
        """True if the guest is saved now."""
        if why := decide.why_not_save(self.facts):
            self._tried.append(f"save: {why}")
            return False
        self.ending.save_asked = True
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(max(time.all - clock(), time.least_save)), self._saves:
                seconds = max(time.all - clock(), time.least_save)
                saving = self._session.save(self.facts, self.policy.bypass_cache, seconds)
                done = await self._try("save", saving, seconds + _ANSWER_WITHIN, until_gone=False)
        except TimeoutError:
            self._tried.append("save: no time left")
            done = False
        if done:
            self.ending.settle("saved")
        if self.ending.how == "saved":
            self._method = "save"
        return self.ending.how == "saved"

    async def _destroy(self) -> bool:
        for graceful in (True, False):
            ending = self._session.destroy(self.facts, graceful)
            if await self._try("destroy", ending, _DESTROYED_WITHIN, until_gone=False):
                self._method = "destroy"
                self.ending.settle("destroyed")
            if self.gone:
                return self.ending.how == "destroyed"
        return False

    async def _try(self, what: str, request: Awaitable[None], seconds: float = 30.0, until_gone: bool = True) -> bool:
        """True if the request was taken. What it fails with is noted; a guest that ends meanwhile ends the waiting."""
        task = asyncio.ensure_future(request)
        gone = asyncio.ensure_future(self.ending.gone.wait() if until_gone else asyncio.Event().wait())
        try:
            await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not self.gone:
                raise CallTimeoutError(f"no answer within {seconds:.0f} s")
            if task.done():
                task.result()
            return True
        except (LibvirtError, CallTimeoutError) as error:
            await self.ending.last_news()
            if not self.gone:
                self._tried.append(f"{what}: {error}")
                self._report.warning(f"{self.facts.name}: {what}: {error}")
            return False
        finally:
            gone.cancel()
            task.cancel()
