"""`stopvm status` for people."""

from collections.abc import Iterable

from .history import Record
from .policy import Policy
from .report import clean


def status(rules: Policy, record: Record | None, complaints: Iterable[str], this_boot: str = "") -> str:
    """Return the policy in force and the last stop, as lines."""
    lines = [f"profile   {rules.profile}, URIs {', '.join(rules.uris)}, at boot: {rules.boot}"]
    base, own = rules.base, len(rules.rules)
    lines.append(
        f"policy    action {base.action}, timeout {base.timeout:.0f} s, on_timeout {', '.join(base.on_timeout)}, "
        f"budget {rules.budget:.0f} s" + (f"; {own} rules for guests of their own" if own else "")
    )
    lines += [f"problem   {text}" for text in [*rules.complaints, *complaints]]
    if record is None:
        return _text([*lines, "last stop none recorded"])
    at_work = record.at_work(this_boot)
    how = f"exit code {record.exit_code}" if record.ended else "it never came to an end"
    how = "still at work" if at_work else how
    without = "not yet" if at_work else "no verdict"
    if record.kind == "cut":
        lines.append(f"power cut noticed {record.started}, guests that lost power: {len(record.guests)}")
    else:
        lines.append(f"last stop {record.started} ({record.kind}), {len(record.guests)} guests, {how}")
    for entry in record.guests:
        detail = f"  {entry.detail}" if entry.detail else ""
        back = f"  brought back: {entry.restored}" if entry.restored else ""
        lines.append(f"  {entry.name}  {entry.verdict or without}  {entry.seconds:.1f} s{back}{detail}")
    pending = [entry for entry in record.carried if entry in record.pending()]
    lines += [f"  {entry.name}  stopped earlier, still to be brought back" for entry in pending]
    return _text(lines)


def _text(lines: Iterable[str]) -> str:
    return "".join(clean(line) + "\n" for line in lines)
