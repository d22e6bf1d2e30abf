"""libvirt's daemon when no guest runs: libvirt-guests would wait without end for one that hangs."""

import io
import os

import pytest

from lvg.stopvm import daemon, hostdown
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report

STATUS = "Name:\tlibvirtd\nState:\tS (sleeping)\nUid:\t0\t0\t0\t0\nNSpid:\t7\n"


@pytest.fixture
def killed(monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(hostdown, "ask_systemd", lambda words, within: asked.extend(words) or "")
    return asked


def _host(tmp_path, monkeypatch, virsh):
    """A host with a libvirtd, and a virsh that does as it is told."""
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/status").write_text(STATUS)
    program = tmp_path / "bin/virsh"
    program.parent.mkdir()
    if virsh:
        program.write_text(f"#!/bin/sh\n[ \"$*\" = '--connect qemu:///system connect' ] || exit 9\n{virsh}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.defpath}" if virsh else str(program.parent))
    return tmp_path


@pytest.mark.parametrize("virsh", ["exit 0", "exit 1", ""])
def test_a_daemon_that_answers_or_cannot_be_asked_is_left_alone(tmp_path, monkeypatch, killed, virsh):
    said = io.StringIO()
    daemon.end_if_silent(Report(said), Notifier(), _host(tmp_path, monkeypatch, virsh))
    assert (killed, said.getvalue()) == ([], "")


def test_a_daemon_that_hangs_is_killed_and_that_is_said(tmp_path, monkeypatch, killed):
    monkeypatch.setattr(daemon, "_ANSWERS_WITHIN", 0.3)
    said = io.StringIO()
    daemon.end_if_silent(Report(said), Notifier(), _host(tmp_path, monkeypatch, "exec sleep 60"))
    assert killed == ["kill", "--kill-who=main", "--signal=SIGKILL", "libvirtd.service", "virtqemud.service"]
    assert "does not answer" in said.getvalue()


def test_nobody_is_asked_where_no_daemon_lives(tmp_path, monkeypatch, killed):
    monkeypatch.setattr(daemon, "_ANSWERS_WITHIN", 0.3)
    root = _host(tmp_path, monkeypatch, "exec sleep 60")
    (root / "proc/7/status").unlink()
    daemon.end_if_silent(Report(io.StringIO()), Notifier(), root)
    assert killed == []
