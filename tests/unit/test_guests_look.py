"""The probe asks a real libvirt, or one that hangs, and never takes longer than it may."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fake_libvirt
from lvg import bundle, guests

pytest.importorskip("libvirt", reason="needs libvirt")
look = importlib.import_module("lvg.guests.look")  # not the function of that name
DOMAIN = "<domain type='test'><name>{}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
CHANNEL = "<devices><channel type='pty'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices>"
GENEROUS = 30.0  # seconds: only who hangs takes as long


def driver(folder: Path, *names: str) -> str:
    """Return the URI of a test driver with these guests, all running."""
    file = folder / "node.xml"
    file.write_text(f"<node>{''.join(map(DOMAIN.format, names))}</node>")
    return f"test://{file}"


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """The URI of a libvirt that takes connections, and never says a word."""
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(8)
        yield f"qemu+unix:///system?socket={path}"


def test_who_runs(tmp_path: Path) -> None:
    names = [f"vm{number}" for number in range(100)]
    (answer,) = guests.look([driver(tmp_path, *names)], GENEROUS)
    assert answer.error == ""
    assert {guest.name for guest in answer.guests} == set(names) == set(answer.defined)
    assert all((guest.state, guest.persistent, guest.memory) == ("running", True, 1.0) for guest in answer.guests)
    assert answer.version > 0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe meets a libvirt with 100 guests, and no other."""
    monkeypatch.setattr(look, "_PROBE", Path(fake_libvirt.__file__))


@pytest.mark.usefixtures("fake")
def test_agents_are_asked_at_the_same_time_and_not_for_long() -> None:
    (answer,) = guests.look(["fake:///"], GENEROUS, inside=["ok1", "no*"])
    assert (answer.error, len(answer.guests)) == ("", 100)
    assert answer.seconds < GENEROUS / 2, "nobody waited for the deaf ones"
    known = {guest.name: guest for guest in answer.guests}
    words = {"ok": "ok", "deaf": "silent", "no": "ok", "off": "silent", "plain": "none"}
    for name, guest in known.items():
        assert guest.agent == words[name.rstrip("0123456789")], name
        assert guest.os == ("Debian 12" if name.startswith("ok") else "")
    asked = {name for name, guest in known.items() if guest.agent_refuses}
    assert asked == {"ok1", "no0"}, "a command of ours is seen in libvirt's log"
    assert [guest.name for guest in answer.guests if guest.job] == ["plain0", "plain2"]
    assert (known["plain0"].job, known["plain2"].job) == ("backup", "migration")


@pytest.mark.usefixtures("fake")
def test_without_a_way_to_their_agents_guests_are_known() -> None:
    answer, nothing = guests.look([fake_libvirt.ONLY_TO_READ, fake_libvirt.NOT_AT_ALL], GENEROUS)
    assert (answer.error, nothing.error) == ("", "access denied")
    assert {guest.agent for guest in answer.guests} == {"none", "unasked"}


def test_one_that_hangs_costs_the_others_nothing(tmp_path: Path, silent: str) -> None:
    begin = time.monotonic()
    hung, answered, nobody = guests.look([silent, driver(tmp_path, "vm"), "qemu+unix:///system?socket=/nowhere"], 8.0)
    assert time.monotonic() - begin < GENEROUS
    assert (hung.error, hung.guests) == ("libvirt did not answer within 8 s", ())
    assert (answered.error, [guest.name for guest in answered.guests]) == ("", ["vm"])
    assert "/nowhere" in nobody.error


def test_nobody_is_left_behind(silent: str) -> None:
    guests.look([silent], 0.4)
    with_it = [path for path in Path("/proc").glob("[0-9]*/cmdline") if silent.encode() in _read(path)]
    assert not with_it


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has just ended


def test_a_probe_that_cannot_be_stopped_by_itself_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = tmp_path / "stuck.py"
    stuck.write_text(
        "import signal, time, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        """print('{"uri": "test:///default", "active": ["a"], "off": []}', flush=True)\n"""
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(look, "_PROBE", stuck)
    (answer,) = guests.look(["test:///default"], 5.0)
    assert answer.error == "libvirt did not answer within 5 s; nothing is known of a"


def test_a_flood_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flood = tmp_path / "flood.py"
    flood.write_text("import sys\nwhile True:\n    sys.stdout.write('x' * 65536)\n")
    monkeypatch.setattr(look, "_PROBE", flood)
    monkeypatch.setattr(look, "_MOST_BYTES", 1 << 20)
    (answer,) = guests.look(["test:///default"], GENEROUS)
    assert "more than can be believed" in answer.error


def test_a_python_without_libvirt_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nshift; exec {bundle.INTERPRETER} -S -I "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    uri = driver(tmp_path, "vm")
    assert [guest.name for guest in guests.look([uri], GENEROUS)[0].guests] == ["vm"]
    monkeypatch.setattr(bundle, "INTERPRETER", str(bare))
    (answer,) = guests.look([uri], GENEROUS)
    assert "install python3-libvirt" in answer.error
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    monkeypatch.setattr(bundle, "INTERPRETER", str(tmp_path / "nothing"))
    assert "cannot be run" in guests.look([uri], GENEROUS)[0].error


@pytest.mark.parametrize("uri", ["", "-c", "nonsense:///", "test:///\0", "test:///\ud800"])
def test_a_uri_that_is_none_is_an_error_and_no_more(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "nonsense:///")
    (answer,) = guests.look([uri], GENEROUS)
    assert answer.error
    assert answer.guests == ()


def test_default_is_what_it_is_for_virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", driver(tmp_path, "vm"))
    assert [guest.name for guest in guests.look(["default"], GENEROUS)[0].guests] == ["vm"]
    monkeypatch.setenv("VIRSH_DEFAULT_CONNECT_URI", "test:///default")
    assert [guest.name for guest in guests.look(["default"], GENEROUS)[0].guests] == ["test"]


def test_it_is_the_program_alone_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libvirt.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert guests.look([driver(tmp_path, "vm")], GENEROUS)[0].error == ""


def test_nothing_is_changed(tmp_path: Path) -> None:
    """A connection that can only read is enough for all but the agents, of which there are none here."""
    probe = Path(look._PROBE).read_text()
    assert probe.count("libvirt.open(") == 1, "one place to open a connection that could do more"
    before = sorted(os.listdir(tmp_path))
    guests.look([driver(tmp_path, "vm")], GENEROUS)
    assert sorted(os.listdir(tmp_path)) == [*before, "node.xml"]
