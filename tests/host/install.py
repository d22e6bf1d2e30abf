"""Puts the checkout into a machine and runs its commands there, as a user would."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from machine import Machine

CHECKOUT = Path(__file__).resolve().parents[2]
TARGET = "opt/lvg"


def copy_checkout(root: Path, target: str = TARGET) -> None:
    """Copy every file that git tracks or would track to /opt/lvg below `root`."""
    git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT)]
    options = ["-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run([*git, "ls-files", *options], capture_output=True, text=True, check=True).stdout
    for name in sorted(name for name in listing.split("\0") if name and "__pycache__" not in name):
        source = CHECKOUT / name
        if source.is_file() or source.is_symlink():
            goal = root / target / name
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, goal, follow_symlinks=False)


def lvg_install(machine: Machine, *args: str, check: bool = True) -> subprocess.CompletedProcess:
    return machine.run([f"/{TARGET}/bin/lvg-install", *args], check=check)


def install_own(machine: Machine, rules: str) -> subprocess.CompletedProcess:
    """Install a profile of the admin's own, which is graceful with these rules."""
    (machine.root / "srv/own.toml").write_text(f'extends = "graceful"\n{rules}', encoding="utf-8")
    return lvg_install(machine, "--profile", "/srv/own.toml")


def lvg(machine: Machine, *args: str, check: bool = True) -> subprocess.CompletedProcess:
    return machine.run([f"/{TARGET}/bin/lvg", *args], check=check)


def assert_sandboxed(machine: Machine) -> None:
    """As they are installed, systemd rates how much our units are exposed at most 1.5 of 10."""
    for unit in ("graceful-shutdown.service", "graceful-restore.service"):
        machine.run(["systemd-analyze", "security", "--no-pager", "--threshold=15", unit])


def last_stop(machine: Machine) -> dict[str, Any]:
    """The newest record in stopvm's history."""
    newest = max((machine.root / "var/lib/lvg/history").glob("*.json"))
    return json.loads(newest.read_text())


def picture(machine: Machine, *folders: str) -> dict[str, tuple[str, int, bytes]]:
    """What is in folders of the tree: kind (or link target), mode and bytes by path. Two of them can be compared."""
    seen: dict[str, tuple[str, int, bytes]] = {}
    for folder in folders:
        for path in sorted((machine.root / folder).rglob("*")):
            mode = path.lstat().st_mode
            kind = f"-> {path.readlink()}" if path.is_symlink() else "file" if path.is_file() else "other"
            seen[str(path.relative_to(machine.root))] = (kind, mode, path.read_bytes() if kind == "file" else b"")
    return seen


def differences(before: dict, after: dict) -> list[str]:
    """Paths that came, went or changed."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
