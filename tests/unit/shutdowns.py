"""Makes a history of shutdowns in a root, as stopvm writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lvg.layout import HISTORY_DIR
from lvg.stopvm.history import Entry, Record


def entry(name: str, verdict: str = "clean", seconds: float = 1.0, method: str = "acpi", **more: Any) -> dict[str, Any]:
    """One guest of a record."""
    values = {"verdict": verdict, "seconds": seconds, "method": method, "wanted": verdict in ("", "clean"), **more}
    return vars(Entry("default", f"uuid of {name}"[:40], name, **values))


def record(guests: Iterable[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """One stop that took from 23:14:05 to 23:18:17."""
    began, ended = "2026-11-22T23:14:05Z", "2026-11-22T23:18:17Z"
    known = Record(started=began, ended=ended, exit_code=0, profile="graceful").as_json()
    return {**known, "guests": list(guests), **more}


def write(root: Path, number: int, data: Mapping[str, Any] | str) -> Path:
    """Write record number `number`, or any other text in its place."""
    path = root / HISTORY_DIR.lstrip("/") / f"{number:08}-x.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8", errors="surrogatepass")
    return path
