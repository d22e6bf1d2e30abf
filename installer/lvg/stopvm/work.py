"""The verbs that need libvirt and an event loop."""

import argparse
import asyncio
from collections.abc import Sequence

from . import decide, history, hostdown, stale
from .calls import Calls, CallTimeoutError
from .history import History
from .keeper import Keeper, new_record
from .notify import Notifier
from .policy import Policy
from .report import Report
from .restore import Restore, settle, whether
from .session import Events, LibvirtError, Session
from .stop import Stop


def sessions(uris: Sequence[str], calls: Calls, report: Report) -> list[Session]:
    """Return a session for each URI; without libvirt's Python module there are none."""
    try:
        from .libvirtsession import LibvirtSession  # noqa: PLC0415  # it may be missing, and that has to be said
    except ImportError as error:
        what = "is missing" if isinstance(error, ModuleNotFoundError) else f"cannot be loaded ({error})"
        report.err(f"Python's libvirt module {what}: install python3-libvirt (Arch: libvirt-python)")
        return []
    return [LibvirtSession(uri, calls) for uri in dict.fromkeys(uris)]


def stop(rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    """Stop all guests and return the exit code."""

    async def run() -> int:
        found = sessions(rules.uris, Calls(), report)
        keeper = Keeper(History(options.state), new_record("now" if options.now else "shutdown", rules), report)
        local = frozenset(uri for uri in rules.uris if hostdown.is_local_qemu(uri))
        return await Stop(rules, found, keeper, report, notifier, not options.now, local).run()

    return asyncio.run(run())


def dry_run(rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    """Say what a stop would begin with for each guest; nothing is asked of any."""
    del options, notifier
    found, reached = asyncio.run(_running(rules, report))
    for facts in found:
        report.info(f"{facts.name}: {_would(rules, facts)}")
    return 0 if reached else 3


def warn_if_guests_run(rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    """Say loudly that this unit goes inactive, and protects no more, while guests run. That is no failure of ours."""
    del options, notifier
    found, reached = asyncio.run(_running(rules, report))
    if found or not reached:
        report.err(
            "Guests run, and while graceful-shutdown.service is stopped nothing but libvirt-guests protects them: "
            "`systemctl start graceful-shutdown.service`. To stop guests: `stopvm stop --now`."
        )
    return 0


async def _running(rules: Policy, report: Report) -> tuple[list[decide.Facts], bool]:
    """Return what runs at all URIs, and whether all could be reached."""
    found: list[decide.Facts] = []
    known = sessions(rules.uris, Calls(), report)
    reached = bool(known)
    for session in known:
        try:
            await session.open(Events(lambda *_: None, lambda _: None))
            found += await session.running()
        except (LibvirtError, CallTimeoutError) as error:
            report.err(f"libvirt at {session.uri} is out of reach: {error}")
            reached = False
    return found, reached


def _would(rules: Policy, facts: decide.Facts) -> str:
    policy = rules.for_guest(facts.name)
    step = decide.opening(facts, policy)
    ask = f"ask by {', then '.join(decide.methods(facts, policy))} within {policy.timeout:.0f} s"
    words = {"ask": ask, "leave": "leave to libvirt-guests", "wait": "wait: it is going down already", "wake": "wake"}
    after = "" if step == "leave" else f"; at the deadline: {', '.join(policy.on_timeout)}"
    return words.get(step, step) + after + (f"; before {', '.join(policy.needs)}" if policy.needs else "")


def restore(rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    """Bring back what ran at the last stop and return the exit code; also cure a stale list of libvirt-guests."""
    if not options.now and not stale.still_starting():
        stale.move_aside(report)
    code = _restore(rules, options, report, notifier)
    if not options.now:
        stale.wait_and_move(report)
    return code


def _restore(rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    store, this_boot = History(options.state), history.boot_id()
    found = store.latest()
    for text in store.complaints:
        report.warning(text)
    if found is None or not found[1].pending():
        report.info("nothing to bring back")
        return 0
    path, latest = found
    settle(latest, this_boot, report)
    what = whether(rules, latest, this_boot, options.now)
    if what == "ignore":
        latest.restored = history.now()
    try:
        store.write(path, latest.as_json())
    except OSError as error:
        report.err(f"the history cannot be written: {error}")
    if what != "restore":
        report.info("nothing is brought back: " + ("the policy says so" if what == "ignore" else "stopped by hand"))
        return 0

    async def run() -> int:
        found = sessions([*rules.uris, *(entry.uri for entry in latest.pending())], Calls(), report)
        return await Restore(rules, found, store, path, latest, report, notifier).run() if found else 3

    return asyncio.run(run())
