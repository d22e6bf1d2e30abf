"""The answer of `lvg report --json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lvg.outcomes import how_long, is_lost
from lvg.shutdowns import Past, verdicts
from lvg.stopvm.history import Entry
from lvg.trend import Warned


def report_document(
    pasts: Sequence[Past], usual: Mapping[str, float], warned: Sequence[Warned], complaints: Sequence[str], boot: str
) -> dict[str, object]:
    """Return the whole answer: these stops, what is usual, who is slow, and what could not be read."""
    return {
        "shutdowns": [_shutdown(each, boot) for each in pasts],
        "usual_s": dict(usual),
        "slow": [
            {
                "guest": each.guest,
                "message": each.what,
                "remedy": each.remedy,
                "usual_s": each.usual,
                "timeout_s": each.timeout,
            }
            for each in warned
        ],
        "complaints": list(complaints),
    }


def _shutdown(past: Past, boot: str) -> dict[str, object]:
    record = past.record
    return {
        "id": past.number,
        "file": past.file,
        "kind": record.kind,
        "started": record.started,
        "ended": record.ended,
        "seconds": how_long(record),
        "at_work": record.at_work(boot),
        "exit_code": record.exit_code,
        "profile": record.profile,
        "verdicts": verdicts(record, boot),
        "guests": [_guest(entry, record.at_work(boot)) for entry in record.guests],
        "carried": [_guest(entry, False) for entry in record.carried],
        "complaints": list(record.complaints),
    }


def _guest(entry: Entry, at_work: bool) -> dict[str, object]:
    return {**vars(entry), "lost": is_lost(entry, at_work)}
