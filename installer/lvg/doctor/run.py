"""Run all checks over the facts of a host, and say in one word how it stands. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lvg.doctor.types import Check, Finding, HostFacts
from lvg.guests import Guest, running
from lvg.timeline import Step

State = Literal["ok", "warning", "failure"]
Ends = tuple[tuple[Guest, Step], ...]
_WORST_FIRST: tuple[State, ...] = ("failure", "warning", "ok")


@dataclass(frozen=True)
class Result:
    """One check and what it found; no finding means that all is well."""

    check: Check
    findings: tuple[Finding, ...]

    @property
    def state(self) -> State:
        """How bad the worst finding is."""
        return worst(self.findings)


@dataclass(frozen=True)
class Diagnosis:
    """The results of all checks, in the table's order."""

    results: tuple[Result, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, failures first, and otherwise in the table's order."""
        found = [finding for result in self.results for finding in result.findings]
        return tuple(sorted(found, key=lambda finding: _WORST_FIRST.index(finding.severity)))

    @property
    def verdict(self) -> State:
        """How bad the worst finding is."""
        return worst(self.findings)


def worst(findings: Iterable[Finding]) -> State:
    """Return the worst severity among findings, "ok" if there are none."""
    found = {finding.severity for finding in findings}
    return next((state for state in _WORST_FIRST if state in found), "ok")


def run(facts: HostFacts, checks: Iterable[Check]) -> Diagnosis:
    """Return what the checks find. A check that fails itself becomes a warning: the others still count."""
    return Diagnosis(tuple(Result(check, _findings(check, facts)) for check in checks))


def blind(checks: Sequence[Check], what: str, todo: str) -> Diagnosis:
    """Return what is said of a host that cannot be looked at: a failure of the first check, and no word of the rest."""
    first = checks[0]
    return Diagnosis((Result(first, (Finding(first.id, "failure", what, todo),)),))


def _findings(check: Check, facts: HostFacts) -> tuple[Finding, ...]:
    try:
        return tuple(check.look(facts))
    except Exception as error:  # the last line of defence: a defect of one check must not hide what others see
        what = f"this check failed itself ({check.title}): {type(error).__name__}: {error}"
        return (Finding(check.id, "warning", what, "Please report this as a defect of lvg."),)


def ends(facts: HostFacts) -> Ends:
    """Return each guest with what becomes of it, those first that stop first."""
    guests = {(guest.uri, guest.name): guest for guest in running(facts.answers)}
    steps = facts.timeline.steps
    return tuple((guests[step.uri, step.name], step) for step in steps if (step.uri, step.name) in guests)


def summary(diagnosis: Diagnosis, guests: int, seconds: float) -> str:
    """Return the verdict in one line; `seconds` is how long the stop of all guests takes at most."""
    said = [finding.severity for finding in diagnosis.findings]
    counts = ", ".join(_count(said.count(word), word) for word in ("failure", "warning") if word in said)
    if diagnosis.verdict == "failure":
        return f"{counts}: guests may lose power when this host goes down."
    end = f"The guests of this host end cleanly{f', with {counts}' if counts else ''}"
    return f"{end}: {_count(guests, 'guest')}, at most {seconds:.0f} s." if guests else f"{end}: none runs now."


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
