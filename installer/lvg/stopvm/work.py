"""The verbs that need libvirt and an event loop."""

import argparse
import asyncio
from collections.abc import Sequence

from . import decide, history, hostdown, whoruns
from .calls import Calls
from .history import History, Record
from .keeper import Keeper, new_record
from .notify import Notifier
from .policy import Policy
from .report import Report
from .selection import Selection
from .session import Session
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
        calls = Calls()
        found = sessions(rules.uris, calls, report)
        keeper = Keeper(History(options.state), new_record("now" if options.now else "shutdown", rules), report)
        local = frozenset(uri for uri in rules.uris if hostdown.is_local_qemu(uri))
        some = _selection(options)
        return await Stop(
            rules, found, keeper, report, notifier, not options.now, local, selection=some, calls=calls
        ).run()

    return asyncio.run(run())


def dry_run(rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    """Say what a stop would do with each guest; nothing is asked of any."""
    from . import foretell  # noqa: PLC0415  # a stop has to start quickly: it needs none of this, nor of what a boot does

    del notifier
    selection, known = _selection(options), sessions(rules.uris, Calls(), report)

    async def run() -> tuple[list[decide.Facts], bool, tuple[str, ...]]:
        found, reached = await whoruns.look(known, report)
        return found, reached, await whoruns.say_unmatched(selection, found, known, report)

    found, reached, unmatched = asyncio.run(run())
    guests = [facts for facts in found if selection.takes(facts.name)]
    for line in foretell.lines(rules, guests, not options.now):
        report.info(line)
    for line in whoruns.left_out_lines(rules, selection, found):
        report.warning(line)
    return 3 if not reached else 2 if unmatched else 0


def warn_if_guests_run(rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    """Say loudly that this unit goes inactive, and protects no more, while guests run. That is no failure of ours."""
    del options, notifier
    found, reached = asyncio.run(whoruns.look(sessions(rules.uris, Calls(), report), report))
    if found or not reached:
        report.err(
            "Guests run, and while graceful-shutdown is stopped nothing but libvirt-guests protects them: "
            f"`{hostdown.start_command()}`. To stop guests: `stopvm stop --now`."
        )
    return 0


def _selection(options: argparse.Namespace) -> Selection:
    return Selection(tuple(options.only), tuple(options.without))


def restore(rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    """Bring back what ran at the last stop and return the exit code; also cure a stale list of libvirt-guests."""
    from . import lastboot, stale  # noqa: PLC0415

    if not options.now:
        if not stale.still_starting():
            stale.move_aside(report)
        lastboot.look(rules, options.policy, options.state, report)
    code = _restore(rules, options, report, notifier)
    if not options.now:
        stale.wait_and_move(report)
    return code


def _restore(rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    from . import lastboot  # noqa: PLC0415
    from .restore import Restore  # noqa: PLC0415
    from .settle import settle, whether  # noqa: PLC0415

    store, this_boot, some = History(options.state), history.boot_id(), Selection(tuple(options.only))
    found = store.latest()
    for text in store.complaints:
        report.warning(text)
    # A boot that brought nothing back has dealt with the record, but not for the admin.
    pending = found[1].pending(also_dealt_with=options.now) if found else []
    chosen = [entry for entry in pending if some.takes(entry.name)]
    unknown = _say_unknown(some, found[1] if found else None, report)
    if found is None or not chosen:
        report.info("nothing to bring back")
        return 2 if unknown else 0
    path, latest = found
    if options.now and not some:
        latest.restored = ""
    settle(latest, this_boot, report, lambda entry: lastboot.how_ended(entry, latest.started), chosen)
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
        todo = [entry for entry in chosen if not entry.restored]
        found = sessions([*rules.uris, *(entry.uri for entry in todo)], Calls(), report)
        return await Restore(rules, found, store, path, latest, report, notifier, todo).run() if found else 3

    return max(asyncio.run(run()), 2 if unknown else 0)


def _say_unknown(some: Selection, record: Record | None, report: Report) -> tuple[str, ...]:
    """Say which --only match no guest of the record, and return them: typing errors."""
    entries = [*record.guests, *record.carried] if record else []
    unknown = some.unmatched(entry.name for entry in entries)
    for option in unknown:
        report.err(f"{option} matches no guest of the last stop")
    return unknown
