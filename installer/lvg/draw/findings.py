"""What the doctor found, as lines: one for each check that is not fine, with its remedy below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lvg.doctor.run import Diagnosis, Result, State
from lvg.doctor.types import Finding
from lvg.draw.terminal import words

_MARKS: dict[State, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warn", "yellow"),
    "failure": ("FAIL", "red"),
}


def findings(diagnosis: Diagnosis, verbose: bool) -> Iterator[RenderableType]:
    """Yield one line for each finding, worst first; with `verbose` evidence, and the checks that are fine."""
    found = diagnosis.findings
    table = _table()
    for finding in found:
        _add(table, finding.severity, finding.id, _message(finding, verbose))
    if verbose:
        for result in fine(diagnosis.results):
            _add(table, "ok", result.check.id, Text(result.check.title))
    if table.row_count:
        yield table


def fine(results: Iterable[Result]) -> Iterator[Result]:
    """Yield the checks that found nothing."""
    return (result for result in results if result.state == "ok")


def verdict(diagnosis: Diagnosis, sentence: str) -> Text:
    """Return the last line."""
    return Text(sentence, style=f"bold {_MARKS[diagnosis.verdict][1]}")


def guest_lines(lines: Iterable[str]) -> Iterator[Text]:
    """Yield a line for each guest."""
    return (words(line) for line in lines)


def _table() -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _add(table: Table, state: State, id_: str, text: Text) -> None:
    mark, colour = _MARKS[state]
    table.add_row(Text(mark, style=colour), Text(id_), text)


def _message(finding: Finding, verbose: bool) -> Text:
    about = f"{finding.guest}: " if finding.guest else ""
    lines = [words(about + finding.message), words(finding.remedy, "dim")]
    if verbose and finding.evidence:
        lines.append(words(f"seen: {finding.evidence}", "dim"))
    return Text("\n").join(lines)
