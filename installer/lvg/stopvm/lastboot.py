"""How the boot before this one ended: with a stop on record, or without, so that guests lost power.

Each restore at boot notes in STATE/boot.json which boot this is, which record was the newest, and which guests'
logs had a start without an end already. If at the next boot no shutdown is on record since then, there was none;
and a start without an end that is not on the list was cut short. No clock is asked, since clocks are wrong at boot.

But the journal may know of a shutdown that is not on record: stopvm was killed at once, or could not run, and
libvirt-guests stopped the guests alone. Its record is made here: those guests that ran when it began, by their logs.

Where no boot is noted since the policy was installed, the journal says when the last boot began; what was cut short
before that is none of our business. If the journal does not know, nobody is said to have lost power. Nor is anybody
whenever something does not fit together.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import history, hostdown, journal, plainfile, powercut
from .history import Entry, History, Record
from .policy import Policy
from .powercut import Span
from .report import Report
from .sight import look_around, past_runs, sure

_SCHEMA = 1
_SETTLES = 3.0  # seconds after which a guest whose start is in its log surely has its pid file
_ROOT = Path("/")
_NO_RECORD = "stopvm left no record of this shutdown; who ran was found out at the next boot, from libvirt's logs"


@dataclass(frozen=True)
class Noted:
    """What a restore noted of its boot. `cuts`: by guest, when its newest run without an end began, if it was over."""

    boot_id: str
    record: str = ""  # the file name of the newest record
    cuts: Mapping[str, str] = field(default_factory=dict)


def look(rules: Policy, policy: Path, state: Path, report: Report, root: Path = _ROOT) -> None:
    """Put on record who ran when the host went down without a record, and note this boot for the next one.

    `policy` is the file that `rules` are from.
    """
    uri = next((uri for uri in rules.uris if hostdown.is_local_qemu(uri, root)), "")
    this_boot, store = history.boot_id(), History(state)
    try:
        if not uri or not this_boot or not (root / powercut.LOGS).is_dir():
            return
        before = noted(state, policy)
        cuts = _cuts(before.cuts if before else {}, root)
        again = before and before.boot_id == this_boot
        since = None if again else store.since(before.record if before else "")
        last = _LastBoot(before, since, this_boot, uri, root)
        record = last.missed_shutdown() or last.power_cut(cuts)
        if record.guests:
            _say(record, report)
            record.profile, record.carried = rules.profile, _pending(store, record.guests)
            store.write(store.new(), record.as_json())
        note = Noted(this_boot, store.newest_name(), cuts)
        history.make_folder(state)
        history.put(state / "boot.json", {"schema": _SCHEMA, **asdict(note)})
    except (OSError, ValueError, TypeError) as error:
        report.warning(f"whether guests lost power cannot be told: {error}")


def _cuts(known: Mapping[str, str], root: Path) -> dict[str, str]:
    """Return by guest when its newest run without an end began. Takes a moment if one is not known. Raises OSError."""
    first = look_around(root)
    if all(known.get(name) == began for name, began in first.cuts.items()):
        return first.cuts
    time.sleep(_SETTLES)
    return dict(sure(first, look_around(root)))


def _say(record: Record, report: Report) -> None:
    if record.kind == "shutdown":
        names = ", ".join(entry.name for entry in record.guests)
        report.err(f"stopvm left no record of the last shutdown; by libvirt's logs these guests ran: {names}")
        return
    for entry in record.guests:
        report.err(f"{entry.name} lost power: it ran, libvirt noted no end of it, and there was no shutdown")


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
class _LastBoot:
    """What is known of the boot before this one. `uri` is the policy's word for this host's own QEMU.

    `since`: the records that came after what was noted, newest first; None if they tell nothing of that boot.
    """

    before: Noted | None
    since: list[Record] | None
    this_boot: str
    uri: str
    root: Path

    def missed_shutdown(self) -> Record | None:
        """Return the record of a shutdown that has none, None if there was no such shutdown. Raises OSError.

        It has no end, as that of a stop that was killed, and no verdicts: settle.py gives them.
        """
        if self.since is None:
            return None
        on_record = {record.boot_id for record in self.since if record.kind == "shutdown"}
        if on_record and (self.before or not on_record.isdisjoint(("", self.this_boot))):
            return None  # in some containers all boots have one id
        missed = journal.shutdown_of(self.before.boot_id if self.before else "")
        if missed is None or missed.boot_id in on_record:
            return None
        guests = [self._entry(name) for name in self._ran_at(missed.began)]
        started = powercut.record_time(missed.began)
        return Record("shutdown", missed.boot_id, started=started, complaints=[_NO_RECORD], guests=guests)

    def _ran_at(self, when: str) -> list[str]:
        """Return the names of the guests that ran at a time (a log's text). Raises OSError."""
        known = self.before.cuts if self.before else {}
        since = "" if self.before else journal.last_boot_began() or "~"  # sorts after every time
        past = past_runs(self.root, powercut.active(self.root))
        return [name for name, found in past.items() if powercut.ran_at(found, when, known.get(name, ""), since)]

    def power_cut(self, cuts: Mapping[str, str]) -> Record:
        """Return the record of guests that lost power, without guests if nobody did. Raises OSError."""
        record, span = Record("cut", self.before.boot_id if self.before else ""), self._new_cuts()
        lost = [name for name, began in cuts.items() if span and span.holds(name, began)]
        record.guests = [self._entry(name, "lost") for name in lost]
        record.started = record.ended = history.now()
        return record

    def _new_cuts(self) -> Span | None:
        """Return which of the cuts are new, None if none is: a shutdown is on record, or it cannot be told."""
        if self.since is None:
            return None
        shutdown = next((record.started for record in self.since if record.kind == "shutdown"), "")
        if self.before and shutdown:
            return None
        after = "" if self.before else journal.last_boot_began()
        if not self.before and not after:
            return None
        stopped = {
            entry.name: powercut.log_time(record.started)
            for record in reversed(self.since)
            for entry in record.guests
            if entry.verdict not in ("", "left")
        }
        return Span(self.before.cuts if self.before else {}, max(after, powercut.log_time(shutdown)), stopped)

    def _entry(self, name: str, verdict: str = "") -> Entry:
        """Return the entry of a guest that lost power (verdict "lost"), or whose end is still to be judged."""
        uuid, detail = powercut.defined_uuid(name, self.root), "lost power" if verdict else ""
        return Entry(self.uri, uuid, name, persistent=bool(uuid), verdict=verdict, wanted=not verdict, detail=detail)


def _pending(store: History, again: list[Entry]) -> list[Entry]:
    """Return who is still to be brought back, but for those that stand in a new record anyhow."""
    latest = store.latest()
    known = {word for entry in again for word in (entry.uuid, entry.name) if word}
    return [entry for entry in (latest[1].pending() if latest else []) if (entry.uuid or entry.name) not in known]


def how_ended(entry: Entry, running_at: str, root: Path = _ROOT) -> str:
    """Return how a local guest ended that was running at a time (a record's), by its log; "" if that says nothing."""
    if not hostdown.is_local_qemu(entry.uri, root):
        return ""
    try:
        found = powercut.runs(powercut.read_log(entry.name, root))
        return powercut.ended(powercut.past(found, entry.name in powercut.active(root)), powercut.log_time(running_at))
    except OSError:
        return ""
