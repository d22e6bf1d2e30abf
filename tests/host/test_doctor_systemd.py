"""What `lvg doctor` finds about systemd and power on a real host: silent before, there when it is wrong, gone after."""

from __future__ import annotations

import json
from typing import Any

from guests import Guest, define, start
from install import lvg, lvg_install
from machine import Machine

UNITS = "etc/systemd/system"
MACHINED_BUS = "usr/share/dbus-1/system-services/org.freedesktop.machine1.service"
SOCKETS = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket"
AUTO = '\nauto_shutdown_try_shutdown = "all"\n'
# A scope as libvirt makes it, but for its ordering; and one that libvirt has no part in.
UNORDERED, FOREIGN = r"machine-qemu\x2d9\x2done.scope", "session-9.scope"
INTO_OTHER_SCOPE = """
systemd-run --quiet --scope --slice=machine.slice --unit='{scope}' sleep 600 >/dev/null 2>&1 &
until systemctl --quiet is-active '{scope}'; do sleep 0.1; done
find /sys/fs/cgroup -name '{pattern}' | while read -r folder; do
	cat /run/libvirt/qemu/one.pid >"$folder/cgroup.procs"
done
"""
NUT = """
mkdir -p /etc/nut
echo 'MONITOR rack@localhost 1 admin secret primary' >/etc/nut/upsmon.conf
echo 'SHUTDOWNCMD "/usr/bin/systemctl poweroff --force"' >>/etc/nut/upsmon.conf
printf '#!/bin/sh\\necho battery.runtime.low: 120\\n' >/usr/local/bin/upsc
chmod 755 /usr/local/bin/upsc
systemd-run --quiet --unit=nut-monitor.service sleep 600
"""


def _found(machine: Machine) -> dict[str, dict[str, Any]]:
    """The findings about systemd, libvirt's own shutdown and power, by id (and guest)."""
    done = lvg(machine, "doctor", "--json", check=False)
    findings = json.loads(done.stdout)["findings"]
    bad = any(finding["severity"] == "failure" for finding in findings)
    assert done.returncode == (9 if bad else 0), done.stderr
    mine = [finding for finding in findings if finding["id"][0] in "CD" or finding["id"] in ("A5", "A6")]
    found = {f"{finding['id']} {finding['guest']}".strip(): finding for finding in mine}
    assert len(found) == len(mine), mine
    return found


def _severities(machine: Machine) -> dict[str, str]:
    return {name: finding["severity"] for name, finding in _found(machine).items()}


def test_what_would_go_wrong_is_found(host: Machine, release: str) -> None:
    define(host, Guest("one"), Guest("two"))
    start(host, "one")
    lvg_install(host, "--profile", "graceful")
    assert _severities(host) == {}

    lvg_install(host, "--profile", "graceful", "--set", "SHUTDOWN_TIMEOUT=1750", "--set", "timeout=900")
    late = _found(host)
    assert {name: finding["severity"] for name, finding in late.items()} == {"C6": "failure"}
    assert "JobTimeoutUSec=30min" in late["C6"]["evidence"]
    host.run(f"/opt/lvg/bin/{late['C6']['remedy']}")
    assert _severities(host) == {}

    _auto_shutdown(host, release)
    _a_scope_that_does_not_wait(host)
    _an_order_that_waits_for_itself(host)
    _without_machined(host)
    host.run(NUT)
    assert _severities(host) == {"D3": "failure", "D5": "failure"}


def _auto_shutdown(host: Machine, release: str) -> None:
    conf = host.root / "etc/libvirt/qemu.conf"
    before = conf.read_text()
    conf.write_text(before + AUTO)
    broken = {"A6": "failure"} if release == "trixie" else {}  # libvirt 11.3
    assert _severities(host) == {"A5": "failure", **broken}
    conf.write_text(before)


def _a_scope_that_does_not_wait(host: Machine) -> None:
    for scope, expected in ((UNORDERED, "C2 one"), (FOREIGN, "C1 one")):
        host.run(INTO_OTHER_SCOPE.format(scope=scope, pattern=scope.replace("\\", "?")))
        found = _found(host)
        assert {name: finding["severity"] for name, finding in found.items()} == {expected: "failure"}
        host.run(found[expected]["remedy"])
        assert _severities(host) == {}


def _an_order_that_waits_for_itself(host: Machine) -> None:
    drop_in = host.root / UNITS / "libvirt-guests.service.d/order.conf"
    drop_in.write_text("[Unit]\nAfter=libvirtd.service\n")
    host.run("systemctl daemon-reload")
    assert _severities(host) == {"C4": "warning"}
    drop_in.unlink()
    host.run("systemctl daemon-reload")


def _without_machined(host: Machine) -> None:
    bus = host.root / MACHINED_BUS
    known = bus.read_text()
    bus.unlink()
    host.run("systemctl mask --quiet --now systemd-machined.service; systemctl restart libvirtd.service")
    start(host, "two")
    assert _severities(host) == {}, "libvirtd waits for the stop all the same"
    folder = f"{UNITS}/virt-guest-shutdown.target.d"
    host.run(f"mv /{folder}/50-lvg.conf /srv && systemctl daemon-reload")
    found = _found(host)
    assert found["C1 two"]["severity"] == "warning"
    host.run(f"mv /srv/50-lvg.conf /{folder} && systemctl daemon-reload")
    _without_libvirtd(host)
    bus.write_text(known)
    host.run(found["C1 two"]["remedy"])
    assert "machine-qemu" in host.run("cat /proc/$(cat /run/libvirt/qemu/two.pid)/cgroup").stdout
    assert _severities(host) == {}


def _without_libvirtd(host: Machine) -> None:
    host.run(f"systemctl stop {SOCKETS} libvirtd.service")
    found = _found(host)
    assert {name: finding["severity"] for name, finding in found.items()} == {"C4b": "warning"}
    assert "one, two" in found["C4b"]["message"]
    host.run(found["C4b"]["remedy"])
    assert _severities(host) == {}
