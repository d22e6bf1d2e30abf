"""Keeps the record of one stop up to date while it happens."""

import os
from collections.abc import Iterable
from pathlib import Path

from . import history
from .calls import Calls, CallTimeoutError
from .decide import Facts
from .history import Entry, History, Record
from .policy import Policy
from .report import Report
from .verdict import Verdict

_WRITE_WITHIN = 10.0  # seconds; a disk that hangs must not keep guests from being stopped


def new_record(kind: str, rules: Policy) -> Record:
    """Return the record of a stop that begins now; `kind` as in Record."""
    return Record(
        kind=kind,
        boot_id=history.boot_id(),
        started=history.now(),
        profile=rules.profile,
        complaints=list(rules.complaints),
    )


class Keeper:
    """The record of this stop. If it cannot be written that is said, and the guests are stopped all the same."""

    def __init__(self, store: History, record: Record, report: Report) -> None:
        self.record = record
        self._store = store
        self._report = report
        self._path: Path | None = None
        self._by_key: dict[tuple[str, str], Entry] = {}
        self._pending: list[Entry] | None = None
        self._dirty = False
        self._calls: Calls | None = None

    def fill(self, guests: Iterable[Facts], out_of_reach: Iterable[Facts] = (), left_out: Iterable[Facts] = ()) -> None:
        """Note who (else) runs, and who is still to be brought back from an earlier stop.

        What runs is not to be brought back any more, also if it is `left_out` of this stop.
        """
        for facts in guests:
            self._by_key[facts.uri, facts.uuid] = self._add(facts)
        for facts in out_of_reach:
            entry = self._add(facts)
            entry.verdict, entry.wanted, entry.detail = "left", False, "libvirt is out of reach"
        running = {entry.key for entry in self.record.guests} | {(facts.uri, facts.uuid) for facts in left_out}
        if self._pending is None:
            self._pending = self._earlier()
        self._pending = [entry for entry in self._pending if entry.key not in running]
        self.record.carried = self._pending
        self._dirty = True

    def _earlier(self) -> list[Entry]:
        before = self._store.latest()
        for text in self._store.complaints:
            self._report.warning(text)
        return before[1].pending() if before else []

    def _add(self, facts: Facts) -> Entry:
        entry = Entry(facts.uri, facts.uuid, facts.name, facts.state, facts.persistent)
        self.record.guests.append(entry)
        return entry

    def verdict(self, facts: Facts, verdict: Verdict, detail: str) -> None:
        """Note what became of a guest; it goes to the disk with the next `save`."""
        entry = self._by_key[facts.uri, facts.uuid]
        entry.verdict, entry.wanted, entry.detail = verdict.verdict, verdict.wanted, detail
        entry.method, entry.seconds, entry.state = verdict.method, verdict.seconds, facts.state
        self._dirty = True

    async def begin(self) -> None:
        """Write the record for the first time, before anything is asked of a guest."""
        self._dirty = True
        await self.save()

    async def save(self) -> None:
        """Write the record if something is new."""
        if not self._dirty:
            return
        self._dirty = False
        self._calls = self._calls or Calls(1)
        data = self.record.as_json()
        try:
            await self._calls.run(_WRITE_WITHIN, lambda: self._write(data))
        except CallTimeoutError:
            self._report.err("the history cannot be written: the disk does not answer")

    async def end(self, code: int) -> None:
        """Write the finished record."""
        self.finish(code)
        await self.save()

    def finish(self, code: int) -> None:
        """Note that the stop is over."""
        self.record.ended, self.record.exit_code, self._dirty = history.now(), code, True

    def save_now(self) -> None:
        """Write the record without a loop."""
        self._dirty = False
        self._write(self.record.as_json())

    def give_up(self, why: str) -> None:
        """Write down what is known and end the program at once: systemd or the admin wants us gone."""
        left = [entry.name for entry in self.record.guests if not entry.verdict]
        self._report.err(f"{why}: giving up; without a verdict: {', '.join(left[:20]) or 'none'}")
        self.record.complaints.append(f"{history.GIVEN_UP}{why}")
        self.save_now()
        os._exit(2)

    def _write(self, data: dict[str, object]) -> None:
        try:
            self._path = self._path or self._store.new()
            self._store.write(self._path, data)
        except OSError as error:
            self._report.err(f"the history cannot be written: {error}")
