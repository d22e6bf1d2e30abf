"""`lvg doctor`."""

from __future__ import annotations

from typing import NamedTuple

from lvg import documents
from lvg.colours import one_line
from lvg.console import need_root, out, root_of, say
from lvg.doctor import Finding, guestline
from lvg.doctor.gather import gather
from lvg.doctor.run import Diagnosis, Ends, blind, ends, run, summary
from lvg.doctor.table import CHECKS
from lvg.documents.doctor import doctor_document
from lvg.errors import BadAnswerError, LvgError
from lvg.files import Root


class Answer(NamedTuple):
    """The whole answer; `seconds` is how long a stop of all guests takes at most."""

    diagnosis: Diagnosis
    guests: Ends
    seconds: float


def doctor(as_json: bool, quiet: bool, verbose: bool) -> int:
    """Look at the host, say what is wrong and what to do. Returns 9 if there is a failure."""
    root = root_of(None)
    need_root(root)
    return give(_answer(root), as_json, quiet, verbose)


def give(answer: Answer, as_json: bool, quiet: bool, verbose: bool) -> int:
    """Print the answer and return the exit code. Raises OSError."""
    found = answer.diagnosis
    if as_json:
        out([documents.dumps(doctor_document(found, answer.guests))])
    elif quiet:
        say(_in_one_line(finding) for finding in found.findings)
    else:
        _draw(answer, verbose)
    return BadAnswerError.code if found.verdict == "failure" else 0


def _answer(root: Root) -> Answer:
    try:
        facts = gather(root)
    except LvgError as error:
        return Answer(blind(CHECKS, error.what, error.todo), (), 0.0)
    return Answer(run(facts, CHECKS), ends(facts), facts.timeline.worst)


def _in_one_line(finding: Finding) -> str:
    about = f"{finding.guest}: " if finding.guest else ""
    return one_line(f"lvg doctor: {finding.severity} {finding.id}: {about}{finding.message}")


def _draw(answer: Answer, verbose: bool) -> None:
    from lvg.draw import findings, terminal  # noqa: PLC0415 - Rich is slow to load, and JSON needs none

    found = answer.diagnosis
    lines = findings.guest_lines(guestline.line(*each) for each in answer.guests)
    sentence = summary(found, len(answer.guests), answer.seconds)
    terminal.show([*findings.findings(found, verbose), *lines, findings.verdict(found, sentence)])
