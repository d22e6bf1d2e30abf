"""Every way to get lvg ends with the same host: a package, a virtual environment, a checkout."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvg.settings import SETTINGS
from machine import Machine
from natives import Natives
from trees import arch_needs, arch_package, dress, inside, pacman, rpm, tree

CHECKOUT = Path(__file__).resolve().parents[2]
KINDS = {
    "arch": ("ID=arch\n", "/etc/conf.d/libvirt-guests"),
    "fedora": ("ID=fedora\nVERSION_ID=43\n", "/etc/sysconfig/libvirt-guests"),
}
UNITS = ("libvirt-guests.service", "graceful-shutdown.service", "graceful-restore.service")


def status(machine: Machine, commands: Path) -> dict[str, Any]:
    """Apply a profile to the tree with the commands in a folder of this machine; return what status then says."""
    words = ["--root", str(machine.root)]
    subprocess.run([commands / "lvg-install", "--profile", "graceful", "--set", "timeout=77", *words, "-q"], check=True)
    done = subprocess.run([commands / "lvg", "status", "--json", *words], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def by_pacman(machine: Machine, natives: Natives, folder: Path) -> dict[str, Any]:
    needed = arch_package(folder, "needed", "1", {"usr/share/needed": ""}, ["libvirt", *arch_needs()])
    pacman(machine.root, "-U", needed)
    pacman(machine.root, "-U", natives.arch)
    return by_package(machine)


def by_rpm(machine: Machine, natives: Natives) -> dict[str, Any]:
    rpm(machine.root, "--nodeps", "-i", natives.rpm)
    return by_package(machine)


def by_package(machine: Machine) -> dict[str, Any]:
    inside(machine.root, "lvg-install", "--profile", "graceful", "--set", "timeout=77")
    return json.loads(inside(machine.root, "lvg", "status", "--json").stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_host_whichever_way(kind: str, natives: Natives, environment: Path, tmp_path: Path) -> None:
    ways: dict[str, Callable[[Machine], dict[str, Any]]] = {
        "checkout": lambda machine: status(machine, CHECKOUT / "bin"),
        "pip": lambda machine: status(machine, environment / "bin"),
        "pacman": lambda machine: by_pacman(machine, natives, tmp_path),
        "rpm": lambda machine: by_rpm(machine, natives),
    }
    found = {}
    for name, way in ways.items():
        with tree() as machine:
            dress(machine, *KINDS[kind])
            answer = way(machine)
            config = (machine.root / KINDS[kind][1][1:]).read_text()
            policy = json.loads((machine.root / "etc/lvg/policy.json").read_text())
            rows = {row["what"]: row for row in answer["rows"] if row["what"] in (*SETTINGS, *UNITS)}
            found[name] = (answer["state"], rows, config, policy)
    first = found["checkout"]
    assert first[0] == "ok"
    assert first[1].keys() >= {"ON_SHUTDOWN", "SHUTDOWN_TIMEOUT", *UNITS}
    assert first[3]["timeout"] == 77
    for name, answer in found.items():
        assert answer == first, name
