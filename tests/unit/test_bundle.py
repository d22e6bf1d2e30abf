"""stopvm as one file: it runs by itself, wherever it lies, and is the same bytes each time."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from lvg import __version__, bundle
from lvg.errors import LvgError
from lvg.files import Root
from lvg.stopvm import __version__ as stopvm_version


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "stopvm"
    path.parent.mkdir()
    path.write_bytes(bundle.program())
    path.chmod(0o755)
    return path


def run(program: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    trap = program.parent / "json.py"
    trap.write_text("raise SystemExit('the folder it is run from was imported')\n")
    environment = {"PATH": os.defpath, "PYTHONPATH": str(program.parent)}
    command = [str(program), *args]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=program.parent, env=environment, check=False, timeout=60
    )


def test_is_the_same_bytes_each_time() -> None:
    assert bundle.program() == bundle.program()


def test_begins_with_what_it_is_and_how_to_live_without_it() -> None:
    lines = bundle.program("/usr/bin/python3").split(b"\n")[:5]
    assert lines[0] == b"#!/usr/bin/python3 -I"
    assert lines[1] == b"# Installed by lvg-install"
    assert b"stopvm stop --now" in b"".join(lines[2:])
    assert b"rm this file" in b"".join(lines[2:])


def test_has_the_version_of_lvg(program: Path) -> None:
    assert stopvm_version == __version__
    assert run(program, "--version").stdout == f"stopvm {__version__}\n"


def test_stops_guests_outside_the_checkout(program: Path, tmp_path: Path) -> None:
    pytest.importorskip("libvirt")
    state = tmp_path / "state"
    done = run(program, "stop", "--now", "--uri", "test:///default", "--state", str(state), "--policy", "/none")
    assert done.returncode == 0, done.stderr
    (record,) = state.glob("history/*.json")
    (guest,) = json.loads(record.read_text())["guests"]
    assert (guest["name"], guest["verdict"]) == ("test", "clean")


@pytest.mark.parametrize("interpreter", ["python3", "/usr/bin/env python3", "/x\n", ""])
def test_refuses_what_a_first_line_cannot_name(interpreter: str) -> None:
    with pytest.raises(LvgError):
        bundle.program(interpreter)


@pytest.mark.parametrize(
    ("installed", "found"),
    [
        ("usr/lib/python3/dist-packages/libvirt.py", True),
        ("usr/lib64/python3.13/site-packages/libvirt.py", True),
        ("usr/lib/python3.12/site-packages/libvirt.py", True),
        ("usr/lib/python3/dist-packages/distro.py", False),
    ],
)
def test_looks_for_libvirt_under_a_root(tmp_path: Path, installed: str, found: bool) -> None:
    path = tmp_path / installed
    path.parent.mkdir(parents=True)
    path.touch()
    assert bundle.interpreter_has_libvirt(Root(tmp_path)) is found


def test_asks_the_interpreter_on_the_live_host(tmp_path: Path) -> None:
    without = tmp_path / "python3"
    without.write_text("#!/bin/sh\nexit 1\n")
    without.chmod(0o755)
    assert bundle.interpreter_has_libvirt(Root(), str(without)) is False
    assert bundle.interpreter_has_libvirt(Root(), "/nonexistent/python3") is False
    without.write_text("#!/bin/sh\nexit 0\n")
    assert bundle.interpreter_has_libvirt(Root(), str(without)) is True
