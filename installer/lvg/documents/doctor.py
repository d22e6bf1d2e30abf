"""The answer of `lvg doctor --json`."""

from __future__ import annotations

from lvg.doctor import guestline
from lvg.doctor.run import Diagnosis, Ends
from lvg.doctor.types import Finding
from lvg.guests import Guest
from lvg.timeline import Step


def doctor_document(diagnosis: Diagnosis, guests: Ends) -> dict[str, object]:
    """Return the verdict, what was found, and the state of every check."""
    return {
        "verdict": diagnosis.verdict,
        "findings": [_finding(each) for each in diagnosis.findings],
        "guests": [_guest(*each) for each in guests],
        "checks": [
            {"id": result.check.id, "title": result.check.title, "state": result.state} for result in diagnosis.results
        ],
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "id": finding.id,
        "severity": finding.severity,
        "guest": finding.guest,
        "message": finding.message,
        "remedy": finding.remedy,
        "evidence": finding.evidence,
    }


def _guest(guest: Guest, step: Step) -> dict[str, object]:
    return {
        "name": guest.name,
        "uri": guest.uri,
        "state": guest.state,
        "agent": guest.agent,
        "methods": list(step.methods),
        "after": list(step.after),
        "timeout_s": step.timeout,
        "deadline_s": step.deadline,
        "line": guestline.line(guest, step),
    }
