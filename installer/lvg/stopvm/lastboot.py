"""How the boot before this one ended: with a stop on record, or without, so that guests lost power.

Each restore at boot notes in STATE/boot.json which boot this is, which record was the newest, and which guests'
logs had a start without an end already. If at the next boot no shutdown is on record since then, there was none;
and a start without an end that is not on the list was cut short. No clock is asked, since clocks are wrong at boot.

Where no boot is noted since the policy was installed, the journal says when the last boot began; what was cut short
before that is none of our business. If the journal does not know, nobody is said to have lost power. Nor is anybody
whenever something does not fit together.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import history, hostdown, plainfile, powercut
from .history import Entry, History, Record
from .policy import Policy
from .powercut import Span
from .report import Report

_SCHEMA = 1
_JOURNAL_WITHIN = 30.0  # seconds
_SETTLES = 3.0  # seconds after which a guest whose start is in its log surely has its pid file
_ROOT = Path("/")


@dataclass(frozen=True)
class Noted:
    """What a restore noted of its boot. `cuts`: by guest, when its newest run without an end began, if it was over."""

    boot_id: str
    record: str = ""  # the file name of the newest record
    cuts: Mapping[str, str] = field(default_factory=dict)


def look(rules: Policy, policy: Path, state: Path, report: Report, root: Path = _ROOT) -> None:
    """Put guests that lost power outside of any stop on record, and note this boot for the next one.

    `policy` is the file that `rules` are from.
    """
    uri = next((uri for uri in rules.uris if hostdown.is_local_qemu(uri, root)), "")
    this_boot, store = history.boot_id(), History(state)
    try:
        if not uri or not this_boot or not (root / powercut.LOGS).is_dir():
            return
        before, sight = noted(state, policy), look_around(root)
        span = new_cuts(before, store, this_boot)
        if span and any(span.holds(name, began) for name, began in sight.cuts.items()):
            time.sleep(_SETTLES)
            first, sight = sight, look_around(root)
            guests = [lost_entry(name, uri, root) for name, began in sure(first, sight) if span.holds(name, began)]
            for entry in guests:
                report.err(f"{entry.name} lost power: it ran, libvirt noted no end of it, and there was no shutdown")
            if guests:
                store.write(store.new(), cut_record(guests, store, before, rules.profile).as_json())
        note = Noted(this_boot, store.newest_name(), sight.cuts)
        history.make_folder(state)
        history.put(state / "boot.json", {"schema": _SCHEMA, **asdict(note)})
    except (OSError, ValueError, TypeError) as error:
        report.warning(f"whether guests lost power cannot be told: {error}")


def noted(state: Path, policy: Path) -> Noted | None:
    """Return what was noted at an earlier boot, None if there is nothing of use, or it is older than the policy.

    Then lvg was perhaps installed anew, and what happened between is not known.
    """
    note = state / "boot.json"
    try:
        data = json.loads(plainfile.text(note))
        if data["schema"] != _SCHEMA or (policy.exists() and policy.stat().st_mtime > note.stat().st_mtime):
            return None
        boot, record, cuts = data["boot_id"], data["record"], dict(data["cuts"])
        sound = all(isinstance(text, str) for text in (boot, record, *cuts.values()))
        return Noted(boot, record, cuts) if sound else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


@dataclass(frozen=True)
class Sight:
    """Which guests ran before and after the logs were read, and the newest run without an end of those that have one.

    `cuts` leaves out the present run of a guest that ran before.
    """

    ran: frozenset[str]
    cuts: dict[str, str]
    run: frozenset[str]


def look_around(root: Path) -> Sight:
    """Read all logs. Raises OSError."""
    ran = powercut.active(root)
    logs = {name: powercut.runs(powercut.read_log(name, root)) for name in powercut.logged(root)}
    cuts = {name: powercut.cut_short(powercut.past(found, name in ran)) for name, found in logs.items()}
    return Sight(ran, {name: began for name, began in cuts.items() if began}, powercut.active(root))


def sure(first: Sight, second: Sight) -> list[tuple[str, str]]:
    """Return the cuts that are none of a guest that is just being started: its log is ahead of its pid file."""
    return [
        (name, began)
        for name, began in second.cuts.items()
        if name in second.ran or (name not in second.run and first.cuts.get(name) == began)
    ]


def new_cuts(before: Noted | None, store: History, this_boot: str) -> Span | None:
    """Return which of the cuts are new, None if none is: a shutdown is on record, or it cannot be told."""
    if before and before.boot_id == this_boot:
        return None
    since = store.since(before.record if before else "")
    if since is None:
        return None
    shutdown = next((record.started for record in since if record.kind == "shutdown"), "")
    if before and shutdown:
        return None
    after = "" if before else last_boot_began()
    if not before and not after:
        return None
    stopped = {
        entry.name: powercut.log_time(record.started)
        for record in reversed(since)
        for entry in record.guests
        if entry.verdict not in ("", "left")
    }
    return Span(before.cuts if before else {}, max(after, powercut.log_time(shutdown)), stopped)


def last_boot_began() -> str:
    """Return the time of the journal's first entry of the boot before this one, "" if it has none."""
    words = "journalctl --boot=-1 --output=short-unix --quiet --no-pager | head -n 1"
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            timeout=_JOURNAL_WITHIN,
            check=False,
        )
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(float(done.stdout.split()[0])))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return ""


def cut_record(guests: list[Entry], store: History, before: Noted | None, profile: str) -> Record:
    """Return the record of guests that lost power. Those that are still to be brought back are carried into it."""
    latest = store.latest()
    again = {word for entry in guests for word in (entry.uuid, entry.name) if word}
    pending = [entry for entry in (latest[1].pending() if latest else []) if (entry.uuid or entry.name) not in again]
    record = Record("cut", before.boot_id if before else "", profile=profile, guests=guests, carried=pending)
    record.started = record.ended = history.now()
    return record


def lost_entry(name: str, uri: str, root: Path) -> Entry:
    """Return the entry of a guest that lost power."""
    uuid = powercut.defined_uuid(name, root)
    return Entry(uri, uuid, name, persistent=bool(uuid), verdict="lost", wanted=False, detail="lost power")


def how_ended(entry: Entry, running_at: str, root: Path = _ROOT) -> str:
    """Return how a local guest ended that was running at a time (a record's), by its log; "" if that says nothing."""
    if not hostdown.is_local_qemu(entry.uri, root):
        return ""
    try:
        found = powercut.runs(powercut.read_log(entry.name, root))
        return powercut.ended(powercut.past(found, entry.name in powercut.active(root)), powercut.log_time(running_at))
    except OSError:
        return ""
