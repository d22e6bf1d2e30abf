"""What can go wrong, said to people: one line of what happened, one line of what to do.

Every expected failure is an `LvgError`. Only `cli.py` turns one into an exit code; the codes are
part of the contract with scripts and packages and stand in the man page.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar

FRESH = "lvg-install --profile graceful"  # for who has never applied anything
NOTHING_APPLIED = "lvg has applied nothing here"


class LvgError(Exception):
    """A failure that a person can act on. Everything was put back before it is raised.

    `what` says what went wrong, `todo` what to do about it; each is one line.
    """

    code: ClassVar[int] = 1

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo


class UsageError(LvgError):
    """The command line or a profile is wrong: unknown profile, key, value or verb."""

    code = 2


class DriftError(LvgError):
    """The host no longer matches what was applied."""

    code = 3


class RefusedError(LvgError):
    """It could be done, but would overwrite or fight with somebody else's work; --force may help."""

    code = 4


class NeedsRootError(LvgError):
    """Changing the live host needs root."""

    code = 5


class NothingAppliedError(LvgError):
    """There is nothing of ours on this host to show, undo or remove."""

    code = 6

    def __init__(self, todo: str = f"Run: {FRESH}") -> None:
        super().__init__(NOTHING_APPLIED, todo)


class UnsupportedDistroError(LvgError):
    """The distro is unknown, or known to stop its guests in another way."""

    code = 7


class NotInstalledError(LvgError):
    """libvirt-guests is not installed on this host."""

    code = 8


class BadAnswerError(LvgError):
    """The question was answered, and the answer is bad: a doctor's failure, a plan that does not fit."""

    code = 9


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean "x"?' for the known word nearest to `word`, or '' if none is near."""
    choices = sorted(known)
    by_folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return f' Did you mean "{by_folded[near[0]]}"?' if near else ""
