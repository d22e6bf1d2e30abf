"""The four shipped profiles: what they promise, to the letter."""

import re
from pathlib import Path

import pytest

from lvg import profiles
from lvg.files import Root
from lvg.profiles import locate as profilefiles

CUT_OFF_WARNING = 29 * 60  # systemd cuts a shutdown off after 30 minutes

SHIPPED = {
    "graceful": (
        {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown", "PARALLEL_SHUTDOWN": "100", "SHUTDOWN_TIMEOUT": "240"},
        {"action": "shutdown", "boot": "restore", "budget": 1200, "timeout": 240, "protect": True},
    ),
    "graceful-240s": (
        {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown", "SHUTDOWN_TIMEOUT": "240"},
        {"action": "shutdown", "boot": "ignore", "timeout": 240, "protect": True},
    ),
    "suspend": (
        {"ON_BOOT": "start", "ON_SHUTDOWN": "suspend"},
        {"action": "none", "boot": "ignore", "protect": True},
    ),
    "ups": (
        {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown", "PARALLEL_SHUTDOWN": "100", "SHUTDOWN_TIMEOUT": "60"},
        {"action": "shutdown", "boot": "restore", "on_timeout": ("save", "destroy"), "protect": True},
    ),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_values(name: str, tmp_path: Path) -> None:
    settings, stop = SHIPPED[name]
    profile = profiles.load(name, Root(tmp_path))
    assert profile.settings == settings
    assert {key: profile.stop[key] for key in stop} == stop
    assert profile.guests == ()
    assert profile.summary
    assert profile.name == name


def test_these_and_no_other_are_shipped(tmp_path: Path) -> None:
    found = profiles.available(Root(tmp_path))
    assert [profile.name for profile in found] == sorted(SHIPPED)
    assert not any(profile.broken for profile in found)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_reason_stands_beside_each_value(name: str) -> None:
    lines = (profilefiles.shipped_folder() / f"{name}.toml").read_text().splitlines()
    values = [line for line in lines if re.match(r"\w+ = ", line) and not line.startswith("summary")]
    assert len(values) > 3
    assert [line for line in values if not re.search(r" # \w.{10}", line)] == []


@pytest.mark.parametrize(
    ("name", "guests_left", "limit"),
    [("graceful", 100, CUT_OFF_WARNING), ("graceful-240s", 4, CUT_OFF_WARNING), ("ups", 100, 300)],
)
def test_worst_case_fits(name: str, guests_left: int, limit: int, tmp_path: Path) -> None:
    profile = profiles.load(name, Root(tmp_path))
    assert 0 < profiles.worst_case_seconds(profile, guests_left) <= limit


def test_profiles_folder_does_not_hide_the_module() -> None:
    """In a wheel the folder lies beside profiles.py; as a real package it would be imported instead."""
    assert not (profilefiles.shipped_folder() / "__init__.py").exists()
