"""What became of the guests' disks, noted line by line; tests/host/faults makes its table of it.

A scenario is the text of a mark: `@pytest.mark.fault("libvirtd is killed before the stop")`. Nothing is written
unless $LVG_HOST_LEDGER names a file. Several test runs may write to the same one at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VARIABLE = "LVG_HOST_LEDGER"
# With these ends a disk may be unclean: the guest was cut off, and that is on record; or a saved one has the rest of
# it in its memory image.
EXCUSED = ("destroyed", "lost", "left", "saved")


def disk(root: Path, guest: str, *, clean: bool, verdict: str, scenario: str) -> None:
    """Note a look at a guest's disk. `scenario`: "" for that of the test, which then must have one mark only."""
    where = {"test": _test(), "release": _release(root), "scenario": scenario}
    _append({**where, "guest": guest, "clean": clean, "verdict": verdict})


def outcome(test: str, scenarios: Iterable[str], result: str) -> None:
    """Note how a test with marks went: passed, failed or skipped."""
    _append({"test": test, "scenarios": list(scenarios), "outcome": result})


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def last_verdict(root: Path, guest: str) -> str:
    """Return what the newest record of stopvm's that knows a guest says of its end; "" if there is none."""
    for path in sorted((root / "var/lib/lvg/history").glob("*.json"), reverse=True):
        for entry in json.loads(path.read_text())["guests"]:
            if entry["name"] == guest:
                return entry["verdict"]
    return ""


def _test() -> str:
    """Return the id of the test at work, as pytest has it in the environment."""
    return re.sub(r" \(\w+\)$", "", os.environ.get("PYTEST_CURRENT_TEST", ""))


def _release(root: Path) -> str:
    found = re.search(r"^VERSION_CODENAME=(\w+)", (root / "usr/lib/os-release").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _append(line: dict[str, Any]) -> None:
    if file := os.environ.get(VARIABLE):
        with Path(file).open("a", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            handle.write(json.dumps(line) + "\n")
