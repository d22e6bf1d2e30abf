"""Who runs, asked of all URIs at once; for what only looks and stops nobody."""

import asyncio
from collections.abc import Sequence

from . import hostdown
from .calls import CallTimeoutError
from .decide import Facts
from .policy import Policy
from .report import Report
from .selection import Selection, still_needed
from .session import Events, LibvirtError, Session


async def look(sessions: Sequence[Session], report: Report) -> tuple[list[Facts], bool]:
    """Return what runs at all URIs, in their order, and whether all could be reached."""
    answers = await asyncio.gather(*(_ask(session, report) for session in sessions))
    found, seen = list[Facts](), set[str]()
    for session, guests in zip(sessions, answers, strict=True):
        if guests is not None and session.real not in seen:
            seen.add(session.real)  # two URIs may mean the same libvirt
            found += guests
    return found, bool(sessions) and None not in answers


async def _ask(session: Session, report: Report) -> list[Facts] | None:
    try:
        await session.open(Events(lambda *_: None, lambda _: None))
        return await session.running()
    except (LibvirtError, CallTimeoutError) as error:
        report.err(f"libvirt at {session.uri} is out of reach: {error}")
    if hostdown.is_local_qemu(session.uri) and (names := hostdown.local_guests()):
        report.err(f"its pid files name these guests: {', '.join(names)}; a stop asks their QEMU itself")
    return None


async def say_unmatched(
    selection: Selection, running: Sequence[Facts], sessions: Sequence[Session], report: Report
) -> tuple[str, ...]:
    """Say which --only and --except match nothing, and return those that match no guest at all: typing errors.

    One that matches only guests that are off is none: a script may run twice.
    """
    idle = selection.unmatched(facts.name for facts in running)
    if not idle:
        return ()
    # What fails here has been said before: it is the URI that is out of reach.
    answers = await asyncio.gather(*(session.names() for session in sessions), return_exceptions=True)
    off = [name for names in answers if not isinstance(names, BaseException) for name in names]
    wrong = selection.unmatched([*(facts.name for facts in running), *off])
    for option in idle:
        if option in wrong:
            report.err(f"{option} matches no guest of this host")
        else:
            report.info(f"{option} matches only guests that are off")
    return wrong


def left_out_lines(rules: Policy, selection: Selection, running: Sequence[Facts]) -> list[str]:
    """Return a warning for each guest that runs on without one that it needs."""
    names = [facts.name for facts in running]
    stopped = [name for name in names if selection.takes(name)]
    out = [name for name in names if not selection.takes(name)]
    return still_needed(stopped, out, lambda name: rules.for_guest(name).needs)
