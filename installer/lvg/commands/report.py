"""`lvg report`."""

from __future__ import annotations

from collections.abc import Sequence

from lvg import documents, shutdowns, trend
from lvg.console import need_root, out, root_of, warn
from lvg.documents.report import report_document
from lvg.errors import UsageError
from lvg.files import Root
from lvg.layout import POLICY
from lvg.outcomes import Memory
from lvg.shutdowns import Past
from lvg.stopvm import policy as policies
from lvg.stopvm.policy import Policy
from lvg.trend import Warned

_TITLE = "lvg report"
_OFFERED = 10  # ids that an unknown one is answered with


def report(last: int, record: str, svg: str, folder: str | None, as_json: bool) -> int:
    """Show the last stops of this host."""
    root = root_of(folder)
    need_root(root, "The history is for root alone: run it with sudo.")
    if last < 1:
        raise UsageError(f"--last {last} is no number of shutdowns", "Give 1 or more.")
    pasts, complaints = shutdowns.past(root)
    rules = _policy(root)
    warn((*complaints, *rules.complaints))
    chosen = (_named(record, pasts),) if record else pasts[:last]
    warned, usual, boot = trend.warnings(pasts, rules), shutdowns.usual(pasts), shutdowns.this_boot(root)
    if as_json:
        out([documents.dumps(report_document(chosen, usual, warned, complaints, boot))])
    if svg or not as_json:
        memory = Memory(usual, {name: rules.for_guest(name).timeout for name in _names(chosen)}, boot)
        _draw(memory, chosen, warned, svg, as_json)
    return 0


def _policy(root: Root) -> Policy:
    """Return the policy in force; without one stopvm would go by its built-in policy."""
    return policies.load(root.real(POLICY)) if root.exists(POLICY) else Policy()


def _names(pasts: Sequence[Past]) -> set[str]:
    return {entry.name for each in pasts for entry in each.record.guests}


def _named(wanted: str, pasts: Sequence[Past]) -> Past:
    """Return the stop with this number or file name. Raises UsageError."""
    number = wanted.lstrip("0") or "0"
    for each in pasts:
        if wanted in (each.file, each.file.removesuffix(".json")) or (wanted and number == each.number):
            return each
    ids = ", ".join(each.number for each in pasts[:_OFFERED]) + (", ..." if len(pasts) > _OFFERED else "")
    todo = f"There are: {ids}." if pasts else "No shutdown is recorded yet."
    raise UsageError(f'no shutdown has the id "{wanted[:80]}"', todo)


def _draw(memory: Memory, pasts: Sequence[Past], warned: Sequence[Warned], svg: str, quiet: bool) -> None:
    from lvg.draw import shutdowns as draw  # noqa: PLC0415 - Rich is not loaded for JSON
    from lvg.draw import terminal  # noqa: PLC0415

    drawn = list(draw.pictures(pasts, memory, warned))
    if svg:
        terminal.write(svg, terminal.svg(drawn, _TITLE))
    if not quiet:
        terminal.show(drawn)
