"""Whether guests can be rehearsed without harm to them or to others: pure, nothing is asked of anybody."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from lvg import guests
from lvg.errors import LvgError, RefusedError, UsageError, did_you_mean
from lvg.guests import Answer, Guest
from lvg.stopvm import order
from lvg.stopvm.policy import Policy


def chosen(names: Sequence[str], answers: Sequence[Answer], rules: Policy) -> tuple[Guest, ...]:
    """Return the guests that are named.

    Raises LvgError if libvirt does not answer, UsageError for a name that no guest has, and RefusedError if one of
    them does not run, could not be started again, or is needed by a guest that is not named.
    """
    _refuse_silent(answers)
    running = guests.running(answers)
    defined = {name for answer in answers for name in answer.defined} | {guest.name for guest in running}
    found = tuple(_named(name, running, defined) for name in dict.fromkeys(names))
    for guest in found:
        _refuse_alone(guest, rules)
    _refuse_needed([guest.name for guest in found], [guest.name for guest in running], rules)
    _refuse_needy(found, running, defined, rules)
    return found


def _refuse_silent(answers: Iterable[Answer]) -> None:
    for answer in answers:
        if answer.error:
            what = f"libvirt at {answer.uri} is out of reach: {answer.error}"
            raise LvgError(what, f"No guest was asked anything. Look at it: virsh -c {shlex.quote(answer.uri)} list")


def _named(name: str, running: Iterable[Guest], defined: Iterable[str]) -> Guest:
    found = [guest for guest in running if guest.name == name]
    if len(found) > 1:
        uris = " and ".join(guest.uri for guest in found)
        raise RefusedError(f"{name} runs at {uris}, and a rehearsal would stop both", "Rename one of them.")
    if found:
        return found[0]
    if name in defined:
        raise RefusedError(f"{name} does not run: there is nothing to rehearse", f"Start it: {start_command(name)}")
    raise UsageError(f"there is no guest {name}", f"See all: virsh list --all.{did_you_mean(name, defined)}")


def _refuse_alone(guest: Guest, rules: Policy) -> None:
    """Raise RefusedError for a guest that cannot be rehearsed, whatever the others do."""
    for what, todo in _against(guest, rules):
        raise RefusedError(f"{guest.name} {what}", todo)


def _against(guest: Guest, rules: Policy) -> Iterator[tuple[str, str]]:
    name = shlex.quote(guest.name)
    if not guest.persistent:
        yield "is transient: once it is off, libvirt forgets it, and nobody could start it again", "Define it first."
    if guest.state == "shutdown":
        yield "is on its way down already", "Wait until it is off."
    if guest.state == "crashed":
        yield "has crashed: it cannot react", f"Look at it: virsh domstate --reason {name}"
    if guest.state == "paused" and guest.why == "io-error":
        yield "is paused by an I/O error", f"Mend its disk first: virsh domblkerror {name}"
    if guest.job:
        yield f"is busy ({guest.job})", f"Wait until that is done: virsh domjobinfo {name}"
    if rules.for_guest(guest.name).action == "none":
        yield (
            'is left to libvirt-guests by the policy (action = "none"), so stopvm would not stop it',
            "There is nothing to rehearse.",
        )


def _refuse_needed(names: Sequence[str], running: Sequence[str], rules: Policy) -> None:
    """Raise RefusedError if a guest that would run on needs one that is to be stopped."""
    after, _ = order.dependants(running, {name: rules.for_guest(name).needs for name in running})
    others = _with_dependants(names, after)[len(names) :]
    for name in others:
        needed = next(each for each in [*names, *others] if name in after[each])
        every = shlex.join(["lvg", "rehearse", *names, *others])
        raise RefusedError(f"{name} runs, and needs {needed}", f"Rehearse all that hang together: {every}")


def _with_dependants(names: Sequence[str], after: Mapping[str, Iterable[str]]) -> list[str]:
    """Return these names, then those that need them, directly or not."""
    found = list(names)
    for name in found:
        found += [each for each in sorted(after[name]) if each not in found]
    return found


def _refuse_needy(found: Iterable[Guest], running: Iterable[Guest], defined: Iterable[str], rules: Policy) -> None:
    """Raise RefusedError for a guest that needs one which is off: it might not come up again."""
    on = {guest.name for guest in running}
    for guest in found:
        for glob in rules.for_guest(guest.name).needs:
            off = [name for name in sorted(defined) if name not in on and (name == glob or fnmatchcase(name, glob))]
            up = any(name == glob or fnmatchcase(name, glob) for name in on)
            if off and not up:
                what = f"{guest.name} needs {off[0]}, which is off: it might not come up again"
                raise RefusedError(what, f"Start that first: {start_command(off[0])}")


def start_command(name: str, uri: str = "default") -> str:
    """Return how an admin starts a guest."""
    where = [] if uri == "default" else ["-c", uri]
    return shlex.join(["virsh", *where, "start", name])
