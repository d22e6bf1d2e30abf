"""The benchmark of a stop runs; how quick things are is for people to judge."""

from __future__ import annotations

import re
import subprocess

from install import CHECKOUT


def test_it_stops_guests_by_both_programs(release: str) -> None:
    words = [CHECKOUT / "bench/stop", "--runs", "1", "--both", "2", "--guests", "3", "--release", release]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert re.search(r"^libvirt-guests.sh, 2 guests, 1 run +\d", done.stdout, re.M), done.stderr
    assert re.search(r"^stopvm, 3 guests +\d", done.stdout, re.M), done.stdout
