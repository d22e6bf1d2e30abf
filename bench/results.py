"""What the bench programs have in common: rows of a table, and the file that keeps the tables."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FILE = CHECKOUT / "docs/BENCHMARKS.md"


def head(unit: str) -> str:
    """Return the line above the rows."""
    return f"{unit:<46} {'median':>8} {'min':>8} {'max':>8}"


def row(name: str, values: Sequence[float], digits: int = 1) -> str:
    """Return one line of a table."""
    shown = (statistics.median(values), min(values), max(values))
    return f"{name:<46}" + "".join(f" {value:8.{digits}f}" for value in shown)


def ratio(slow: Sequence[float], quick: Sequence[float]) -> float:
    """Return the ratio of the medians."""
    return statistics.median(slow) / statistics.median(quick)


def record(heading: str, lines: Sequence[str], file: Path = FILE) -> None:
    """Put the lines below `heading` in the file of results, in place of what stood there."""
    old = file.read_text(encoding="utf-8")
    text = "\n".join(lines)
    section = f"## {heading}\n\n```\n{text}\n```\n\n"
    pattern = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.M | re.S)
    new = pattern.sub(lambda _: section, old) if pattern.search(old) else f"{old.rstrip()}\n\n{section}"
    file.write_text(new.rstrip() + "\n", encoding="utf-8")
