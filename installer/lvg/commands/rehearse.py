"""`lvg rehearse`: ask, let stopvm stop and start the guests in the background, and say what became of them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lvg import documents, guests, locking, rehearsal, shutdowns
from lvg.console import need_root, root_of, say, tell, warn
from lvg.documents.rehearsal import rehearsal_document
from lvg.errors import BadAnswerError, LvgError, NothingAppliedError, RefusedError, UsageError
from lvg.files import Root
from lvg.guests import Answer
from lvg.layout import POLICY
from lvg.record import load
from lvg.rehearsal import Outcome, Part, Screen, Watch, Work
from lvg.rehearsal.part import foretold, outcome_line, remedies, stop_seconds
from lvg.stopvm import hostdown, policy
from lvg.stopvm.history import Entry
from lvg.stopvm.policy import Policy

_ANSWER_WITHIN = 15.0  # seconds that libvirt and the guests' agents have
_HELP_WITHIN = 20.0  # seconds
_UNTOUCHED = "Nothing was done: no guest was asked anything."


def rehearse(names: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Rehearse guests of this host and return the exit code: 0, 1 nothing was done, 9 something went wrong."""
    root = root_of(None)
    need_root(root, "Run it with sudo: it really stops guests.")
    return Rehearsal(root, guests.look, lambda: hostdown.going_down()[0]).run(names, yes, as_json)


@dataclass(frozen=True)
class Rehearsal:
    """One rehearsal. `look` asks libvirt; `host_goes_down` says whether the host is being switched off."""

    root: Root
    look: Callable[[Sequence[str], float], tuple[Answer, ...]]
    host_goes_down: Callable[[], bool]

    def run(self, names: Sequence[str], yes: bool, as_json: bool = False) -> int:
        """Rehearse these guests and return the exit code. Raises LvgError before anything is done.

        With `as_json` only the answer goes to stdout, and there is one only if something was done.
        """
        try:
            if not yes and not sys.stdin.isatty():
                raise UsageError("it asks before it stops guests, and there is no terminal to ask", "Add --yes.")
            program, rules = self._program(), self._rules()
            some = self._parts(names, rules)
            (say if as_json else tell)(line for part in some for line in foretold(part))
            if not yes and not _agreed(len(some)):
                say([_UNTOUCHED])
                return 1
            with locking.exclusive(self.root):
                some = some if yes else self._parts(names, rules)  # it may have waited long
                return _end(self._act(program, some, rules), as_json)
        except KeyboardInterrupt:
            say(["", f"Ended by Ctrl-C. {_UNTOUCHED}"])
            return 1

    def _program(self) -> str:
        """Return the installed stopvm. Raises LvgError if there is none that can do what is needed."""
        record = load(self.root)
        if record is None:
            raise NothingAppliedError()
        if not record.program:
            raise RefusedError("stopvm does not run on this host", "libvirt-guests alone stops its guests.")
        command = [str(self.root.real(record.program)), "restore", "--help"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_HELP_WITHIN, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise LvgError(f"{record.program} cannot be run: {error}", "Run lvg-install again.") from None
        if "--only" not in done.stdout:
            todo = "Run lvg-install again; `lvg status` shows the command."
            raise LvgError(f"{record.program} is older than this lvg, and cannot start single guests again", todo)
        return command[0]

    def _rules(self) -> Policy:
        if self.host_goes_down():
            raise RefusedError("the host is going down", _UNTOUCHED)
        rules = policy.load(self.root.real(POLICY))
        warn(rules.complaints)
        return rules

    def _parts(self, names: Sequence[str], rules: Policy) -> tuple[Part, ...]:
        return rehearsal.parts(rehearsal.chosen(names, self.look(rules.uris, _ANSWER_WITHIN), rules), rules)

    def _act(self, program: str, some: Sequence[Part], rules: Policy) -> list[Outcome]:
        names, newest = [part.guest.name for part in some], self._newest()
        patience = max(part.seconds for part in some)
        work = Work(program, names, lambda: self._running(rules), self.host_goes_down, patience)
        with rehearsal.interrupts() as pressed:
            if pressed.count:
                raise KeyboardInterrupt
            worker = rehearsal.begin(work)
            with _screen(f"stopping {', '.join(names)}", stop_seconds(some)) as screen:
                watch = Watch(names, screen, pressed)
                watch.until_done(worker)
            running, entries = self._running(rules), self._entries(newest)
        return [_outcome(part, running, entries, watch.back) for part in some]

    def _running(self, rules: Policy) -> frozenset[str] | None:
        """Return the names of the guests that run, None if a libvirt does not answer."""
        answers = self.look(rules.uris, _ANSWER_WITHIN)
        if any(answer.error for answer in answers):
            return None
        return frozenset(guest.name for guest in guests.running(answers))

    def _newest(self) -> str:
        pasts, _ = shutdowns.past(self.root)
        return pasts[0].file if pasts else ""

    def _entries(self, newest: str) -> dict[str, Entry]:
        """Return what stopvm recorded of each guest, by name, in the first stop by hand after the record `newest`."""
        pasts, _ = shutdowns.past(self.root)
        mine = [past.record for past in pasts if past.file > newest and past.record.kind == "now"]
        return {entry.name: entry for record in mine[-1:] for entry in record.guests}


def _agreed(count: int) -> bool:
    """Ask, and return True for a yes."""
    sys.stdout.flush()
    this = "this guest" if count == 1 else f"these {count} guests"
    sys.stderr.write(f"Stop {this} now? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextlib.contextmanager
def _screen(what: str, seconds: float) -> Iterator[Screen]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from lvg.draw.progress import Bar  # noqa: PLC0415 - Rich, which only a terminal needs

    with Bar(what, seconds) as bar:
        yield bar


class _Lines:
    """A screen that is a file, a pipe or a journal: lines, and nothing that moves."""

    def say(self, line: str) -> None:
        say([line])

    def change(self, what: str, seconds: float | None) -> None:
        pass

    def tick(self) -> None:
        pass


def _outcome(part: Part, running: frozenset[str] | None, entries: dict[str, Entry], back: dict[str, float]) -> Outcome:
    name = part.guest.name
    return Outcome(part, entries.get(name), None if running is None else name in running, back.get(name))


def _end(outcomes: Sequence[Outcome], as_json: bool) -> int:
    if as_json:
        tell([documents.dumps(rehearsal_document(outcomes))])
    else:
        tell(outcome_line(outcome) for outcome in outcomes)
    say(line for outcome in outcomes for line in remedies(outcome))
    return 0 if all(outcome.good for outcome in outcomes) else BadAnswerError.code
