"""The table of faults on real hosts: an unclean disk counts, unless it is on record why."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

FAULTS = Path(__file__).resolve().parents[1] / "host/faults"
TEST = {"test": "test_x.py::test_x[trixie]", "release": "trixie", "scenario": ""}


def _told(folder: Path, *lines: dict) -> subprocess.CompletedProcess[str]:
    ledger = folder / "ledger"
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    argv = ["/usr/bin/python3", str(FAULTS), "--read", str(ledger)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_an_unclean_disk_counts_unless_its_end_is_on_record(tmp_path: Path) -> None:
    looks = [
        {**TEST, "guest": "db", "clean": True, "verdict": "clean"},
        {**TEST, "guest": "db", "clean": True, "verdict": "clean"},
        {**TEST, "guest": "web", "clean": False, "verdict": "destroyed"},
    ]
    outcome = {"test": TEST["test"], "scenarios": ["libvirtd is killed"], "outcome": "passed"}
    good = _told(tmp_path, *looks, outcome)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[2].split() == ["libvirtd", "is", "killed", "trixie", "2", "3", "1", "0"]
    assert good.stdout.endswith("1 scenarios, 2 guests, 3 disks looked at, 0 dirty disks\n")

    for verdict in ("", "clean", "half saved"):
        bad = _told(tmp_path, *looks, {**TEST, "guest": "nas", "clean": False, "verdict": verdict}, outcome)
        assert bad.returncode == 1
        assert bad.stderr.startswith("dirty: libvirtd is killed: nas")
        assert bad.stdout.endswith("1 dirty disks\n")


def test_a_failed_test_or_a_scenario_without_a_look_is_no_success(tmp_path: Path) -> None:
    failed = _told(tmp_path, {"test": TEST["test"], "scenarios": ["a halt"], "outcome": "failed"})
    assert (failed.returncode, failed.stderr) == (1, f"failed: {TEST['test']}\n")
    other = [{**TEST, "release": name, "guest": "db", "clean": True, "verdict": ""} for name in ("bookworm", "trixie")]
    unseen = _told(tmp_path, *other, {"test": "test_y.py::test_y", "scenarios": ["a halt"], "outcome": "passed"})
    assert (unseen.returncode, unseen.stderr) == (1, "no disk was looked at: a halt\n")
