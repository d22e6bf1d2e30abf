"""libvirt's daemon when no guest runs: libvirt-guests would wait without end for one that hangs."""

import io
import os

import pytest

from lvg.stopvm import __main__, daemon, hostdown, verbs
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report


class Asking(Notifier):
    """Notes each time that systemd is asked for more time."""

    def __init__(self, asked):
        super().__init__()
        self._asked = asked

    def extend(self):
        self._asked.append("more time")


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


def test_systemd_is_asked_for_more_time_before_each_wait(tmp_path, monkeypatch, killed):
    monkeypatch.setattr(daemon, "_answers", lambda: killed.append("an answer"))
    daemon.end_if_silent(Report(io.StringIO()), Asking(killed), _host(tmp_path, monkeypatch, "exit 0"))
    assert killed[:4] == ["more time", "an answer", "more time", "kill"]


def test_systemd_is_asked_for_more_time_before_it_is_asked_what_goes_on(tmp_path, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(hostdown, "runs_openrc", lambda root: False)
    monkeypatch.setattr(hostdown, "ask_systemd", lambda words, within: asked.extend(words) or "stopping")
    monkeypatch.setattr(verbs, "_free_the_net", lambda report: None)
    monkeypatch.setattr(verbs, "_nothing", lambda *_: 0)
    monkeypatch.setattr(hostdown, "nothing_runs", lambda uris: True)
    monkeypatch.setattr(verbs.Notifier, "from_environment", lambda: Asking(asked))
    assert __main__.run(["stop", "--policy", str(tmp_path / "none"), "--state", str(tmp_path)]) == 0
    assert asked == ["more time", "is-system-running"]
