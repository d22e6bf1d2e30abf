"""Whether the host goes down and whether anything runs: from what systemd and the file system say."""

import pytest

from lvg.stopvm import hostdown, stale
from lvg.stopvm.report import Report


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """Return a function that sets what systemctl does."""

    def systemctl(script):
        program = tmp_path / "bin" / "systemctl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    return systemctl


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("echo stopping; exit 1", "stopping"),
        ("echo running", "running"),
        ("echo maintenance; exit 1", "maintenance"),
        ("exit 1", ""),
        ("sleep 60", ""),
    ],
)
def test_system_state(systemctl, monkeypatch, script, state):
    monkeypatch.setattr(hostdown, "_ANSWER_WITHIN", 0.5)
    systemctl(script)
    assert hostdown.system_state() == state


def test_no_systemctl_is_no_shutdown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hostdown.system_state() == ""


@pytest.mark.parametrize(
    ("files", "uris", "nothing"),
    [
        ({}, ["default"], True),
        ({}, ["qemu:///system"], True),
        ({}, ["qemu:///system", "lxc:///system"], False),
        ({}, ["qemu+ssh://host/system"], False),
        ({}, ["test:///default"], False),
        ({"run/libvirt/qemu/driver.pid": ""}, ["default"], True),
        ({"run/libvirt/qemu/db.pid": "1"}, ["default"], False),
        ({"run/libvirt/qemu/driver.pid": "", "run/libvirt/qemu/driver.xml": ""}, ["default"], False),
        ({"sys/fs/cgroup/machine.slice/machine-qemu-1-a.scope/tasks": ""}, ["default"], False),
        ({"sys/fs/cgroup/systemd/machine.slice/machine-qemu-1-a.scope/tasks": ""}, ["default"], False),
        ({"proc/77/comm": "qemu-system-x86\n"}, ["default"], False),
        ({"proc/77/comm": "kvm\n"}, ["default"], False),
        ({"proc/77/comm": "libvirt_lxc\n"}, ["default"], False),
        ({"proc/77/comm": "bash\n"}, ["default"], True),
        ({"etc/libvirt/libvirt.conf": "#uri_default = 'x'\n"}, ["default"], True),
        ({"etc/libvirt/libvirt.conf": "uri_default = 'lxc:///'\n"}, ["default"], False),
        ({"proc/xen/capabilities": ""}, ["default"], False),
    ],
)
def test_nothing_runs_only_if_it_is_certain(tmp_path, monkeypatch, files, uris, nothing):
    monkeypatch.delenv("LIBVIRT_DEFAULT_URI", raising=False)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert hostdown.nothing_runs(uris, tmp_path) is nothing


@pytest.mark.parametrize(
    ("active", "sub", "moved", "busy"),
    [("active", "exited", True, False), ("active", "running", False, True), ("activating", "start", False, True),
     ("inactive", "dead", False, False), ("failed", "failed", False, False)],
)  # fmt: skip
def test_a_list_is_stale_once_libvirt_guests_has_started(tmp_path, systemctl, capsys, active, sub, moved, busy):
    systemctl(f"echo ActiveState={active}; echo SubState={sub}")
    path = tmp_path / "libvirt-guests"
    path.write_text("default uuid-1\n")
    assert stale.still_starting(path) is busy
    aside = stale.move_aside(Report(prefix=True), path)
    assert (aside is not None, path.exists()) == (moved, not moved)
    if aside:
        assert aside.read_text() == "default uuid-1\n"
        assert f"<4>{path} was stale" in capsys.readouterr().err


def test_no_list_no_question(tmp_path, systemctl):
    systemctl(f"touch {tmp_path}/asked")
    assert stale.move_aside(Report(), tmp_path / "libvirt-guests") is None
    assert not stale.still_starting(tmp_path / "libvirt-guests")
    assert not (tmp_path / "asked").exists()


@pytest.fixture
def openrc(tmp_path, monkeypatch):
    """Return a function that makes a host with OpenRC at work on a runlevel."""

    def openrc(stopping, softlevel, command=""):
        files = {"run/openrc/softlevel": softlevel, "run/openrc/started/x": ""}
        files |= {"run/openrc/rc.stopping/x": ""} if stopping else {}
        files |= {"proc/77/cmdline": command.replace(" ", "\0") + "\0"} if command else {}
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        if command:
            monkeypatch.setenv("RC_PID", "77")
        return tmp_path

    monkeypatch.delenv("RC_PID", raising=False)
    return openrc


@pytest.mark.parametrize(
    ("stopping", "softlevel", "command", "down"),
    [
        (True, "shutdown", "", True),
        (True, "shutdown", "/sbin/openrc reboot", True),
        (True, "single", "", True),
        (True, "default", "/sbin/openrc off", True),  # Debian's inittab, before it says shutdown
        (True, "default", "/sbin/openrc nonetwork", False),
        (True, "default", "", False),
        (True, "default", "/bin/sh off", False),
        (False, "default", "/sbin/openrc off", False),
        (False, "shutdown", "", False),
        (False, "default", "", False),
    ],
)
def test_openrc_tells_by_the_runlevel_it_changes_to(openrc, stopping, softlevel, command, down):
    assert hostdown.going_down(openrc(stopping, softlevel, command))[0] is down


def test_openrc_tells_whether_libvirt_guests_is_started(openrc):
    root = openrc(False, "default")
    assert stale.guests_state(root) == ""
    (root / "run/openrc/started/libvirt-guests").write_text("")
    assert stale.guests_state(root) == "active/exited"


def test_openrc_that_is_only_installed_is_not_asked(openrc, systemctl):
    root = openrc(True, "shutdown")
    (root / "run/systemd/system").mkdir(parents=True)
    systemctl("echo running")
    assert hostdown.going_down(root) == (False, 'systemd says "running"')
    assert hostdown.start_command(root) == "systemctl start graceful-shutdown.service"
    (root / "run/systemd/system").rmdir()
    assert hostdown.start_command(root) == "rc-service graceful-shutdown start"
