"""What `lvg doctor` says on a real host: nothing when all is well, and what is wrong when something is."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from typing import Any

from guests import Guest, define, start
from install import lvg, lvg_install
from machine import Machine

CONFIG = "/etc/default/libvirt-guests"
UNITS = "/etc/systemd/system"
NET_DROP_IN = f"{UNITS}/libvirt-guests.service.d/90-test.conf"
STOPVM = "graceful-shutdown.service"


def doctor(machine: Machine) -> dict[str, Any]:
    """The document; the exit code has to go with its verdict."""
    done = lvg(machine, "doctor", "--json", check=False)
    assert "Traceback" not in done.stderr, done.stderr
    said = json.loads(done.stdout)
    assert done.returncode == (9 if said["verdict"] == "failure" else 0), done.stdout
    return said


def failures(machine: Machine) -> set[str]:
    return {each["id"] for each in doctor(machine)["findings"] if each["severity"] == "failure"}


def warnings(machine: Machine) -> set[str]:
    return {each["id"] for each in doctor(machine)["findings"] if each["severity"] == "warning"}


@contextlib.contextmanager
def broken(machine: Machine, *commands: str) -> Iterator[None]:
    """A host on which these commands were run; what is in /etc, and systemd's view of it, are put back."""
    machine.run("cp -a /etc /srv/etc")
    for command in commands:
        machine.run(command)
    try:
        yield
    finally:
        machine.run("cp -a --remove-destination /srv/etc/. /etc/ && rm -rf /srv/etc")
        machine.run(f"rm -f {NET_DROP_IN} {UNITS}/libvirt-guests.service /var/lib/libvirt/libvirt-guests")
        machine.run("systemctl daemon-reload")


def appended(path: str, text: str) -> str:
    return f"printf '%s\\n' {shlex.quote(text)} >> {path}"


def written(path: str, text: str) -> str:
    return f"mkdir -p {path.rpartition('/')[0]} && printf '%b' {shlex.quote(text)} > {path} && systemctl daemon-reload"


def test_a_healthy_host_and_everything_that_may_become_of_it(host: Machine) -> None:
    assert {each["id"] for each in doctor(host)["findings"]} == {"A3", "B9"}, "nothing was applied yet"
    assert doctor(host)["verdict"] == "warning"

    define(host, Guest("vm", agent=True), Guest("plain"))
    start(host, "vm", "plain")
    lvg_install(host, "--profile", "graceful")
    said = doctor(host)
    assert said["findings"] == []
    assert [(guest["name"], guest["agent"]) for guest in said["guests"]] == [("plain", "none"), ("vm", "ok")]
    lines = lvg(host, "doctor").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["plain", "vm", "The guests of this host end cleanly"]
    quiet = lvg(host, "doctor", "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("", "")

    link = f"{UNITS}/multi-user.target.wants/{STOPVM}"
    with broken(host, f"rm {link} && systemctl daemon-reload"):
        assert failures(host) == {"A3"}
    with broken(host, "echo default > /var/lib/libvirt/libvirt-guests"):
        assert failures(host) == {"A4"}
    with broken(host, f"ln -s /dev/null {UNITS}/libvirt-guests.service && systemctl daemon-reload"):
        assert "A2" in failures(host)
    with broken(host, appended("/etc/libvirt/qemu.conf", 'auto_shutdown_try_shutdown = "all"')):
        assert "A5" in failures(host)
    with broken(host, appended(CONFIG, "ON_SHUTDOWN='shutdown")):
        assert failures(host) == {"B2"}
        assert "A13" in warnings(host)
    with broken(host, appended(CONFIG, "ON_SHUTDOWN=Shutdown")):
        assert failures(host) == {"B3"}
    with broken(host, written(NET_DROP_IN, r"[Unit]\nRequires=libvirtd.service\n[Service]\nTimeoutStopSec=20\n")):
        assert "A12" in failures(host)
        assert "A10" in warnings(host)
    with broken(host, "chmod -x /usr/local/bin/stopvm"):
        assert failures(host) == {"A3"}
    host.run("chmod +x /usr/local/bin/stopvm")
    assert doctor(host)["findings"] == []

    host.run("kill -STOP $(cat /run/libvirtd.pid)")
    assert "B8" in failures(host), "a libvirt that hangs holds nobody up"
    host.run("kill -CONT $(cat /run/libvirtd.pid) && virsh -q list")
    assert doctor(host)["findings"] == []

    nobody = host.run("setpriv --reuid=65534 --clear-groups /usr/bin/python3 /opt/lvg/bin/lvg doctor", check=False)
    assert nobody.returncode == 5
