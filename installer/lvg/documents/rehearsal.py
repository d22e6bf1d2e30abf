"""The answer of `lvg rehearse --json`."""

from __future__ import annotations

from collections.abc import Sequence

from lvg.rehearsal import Outcome
from lvg.rehearsal.part import remedies


def rehearsal_document(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return whether all went well, and what became of each guest, in the order in which they stop."""
    return {"good": all(each.good for each in outcomes), "guests": [_guest(each) for each in outcomes]}


def _guest(outcome: Outcome) -> dict[str, object]:
    guest, entry = outcome.part.guest, outcome.entry
    return {
        "guest": guest.name,
        "uri": guest.uri,
        "good": outcome.good,
        "verdict": entry.verdict if entry else "",
        "wanted": bool(entry and entry.verdict and entry.wanted),
        "method": entry.method if entry else "",
        "detail": entry.detail if entry else "",
        "seconds": entry.seconds if entry and entry.verdict else None,
        "timeout_s": outcome.part.policy.timeout,
        "up": outcome.up,
        "back_s": None if outcome.back is None else round(outcome.back, 1),
        "remedies": remedies(outcome),
    }
