"""Several URIs on a real host: QEMU's, two libvirt daemons of their own, and a remote one that never answers."""

from __future__ import annotations

import re

from guests import Guest, define, running, serial, start
from install import assert_sandboxed, lvg_install
from machine import Machine

# A session daemon of an ordinary user has everything below the folder that this names, and touches no other daemon.
PRIVATE = """
useradd --system {name} && install -d -o {name} /run/{name}
XDG_RUNTIME_DIR=/run/{name} HOME=/run/{name} setpriv --reuid={name} --regid={name} --clear-groups \
	libvirtd --daemon --pid-file /run/{name}/pid
"""
MUTE = """
import socket, time
listener = socket.create_server(("127.0.0.1", 16509))
print("listening", flush=True)
time.sleep(600)
"""
UNITS = ("graceful-shutdown.service", "graceful-restore.service")
REMOTE = "qemu+tcp://127.0.0.1/system"


def private_daemon(machine: Machine, name: str) -> str:
    """Start a libvirt daemon with the test driver, whose guest is called "test"; return its URI."""
    machine.run(PRIVATE.format(name=name))
    uri = f"test+unix:///default?socket=/run/{name}/libvirt/libvirt-sock"
    # The driver forgets its guests with the last connection, so one stays open.
    machine.run(f"setsid sh -c '(echo list; sleep 600) | virsh -c {uri} >/srv/{name}' >/dev/null 2>&1 </dev/null &")
    machine.wait_for(lambda: "running" in machine.run(f"cat /srv/{name}", check=False).stdout, uri)
    return uri


def _properties(machine: Machine, unit: str) -> dict[str, set[str]]:
    """What systemd knows of a unit, as words: those of a list have no order."""
    lines = machine.run(["systemctl", "show", unit]).stdout.splitlines()
    return {line.partition("=")[0]: set(line.partition("=")[2].split()) for line in lines}


def _lifted(machine: Machine, profile: str) -> dict[str, set[str]]:
    """Install a profile that extends graceful; return which properties of our units then are others than with that."""
    (machine.root / "srv/lifts.toml").write_text(f'extends = "graceful"\n{profile}\n')
    seen = []
    for name in ("graceful", "/srv/lifts.toml"):
        lvg_install(machine, "--profile", name, "--no-enable", "--no-start")
        seen.append({unit: _properties(machine, unit) for unit in UNITS})
    before, after = seen
    return {
        unit: {name for name in before[unit] | after[unit] if before[unit].get(name) != after[unit].get(name)}
        for unit in UNITS
    }


def _assert_it_lifts_what_it_says_and_no_more(machine: Machine) -> None:
    network = {"PrivateNetwork", "IPAddressDeny", "RestrictAddressFamilies"}
    uris = '[libvirt-guests]\nURIS = "default {}"'
    for uri, expected in {REMOTE: network, "qemu+ssh://root@host/system": {*network, "ProtectHome"}}.items():
        lifted = _lifted(machine, uris.format(uri))
        assert lifted == {unit: {*expected, "DropInPaths"} for unit in UNITS}
        assert _properties(machine, UNITS[0])["RestrictAddressFamilies"] == {"AF_INET", "AF_INET6", "AF_UNIX"}
    stop, restore = _lifted(machine, '[stopvm]\nbefore_stop_host = [["/bin/true"]]').values()
    drop_in = (machine.root / f"etc/systemd/system/{UNITS[0]}.d/50-lvg-sandbox.conf").read_text()
    implied = {"DeviceAllow", "DevicePolicy", "ProtectControlGroupsEx"}  # by PrivateDevices= and ProtectControlGroups=
    assert stop - implied == {*re.findall(r"^([A-Z]\w+)=", drop_in, re.MULTILINE), "DropInPaths"}
    assert restore == set(), "no command of a host runs there"
    lvg_install(machine, "--profile", "graceful", "--no-enable", "--no-start")
    assert_sandboxed(machine)


def test_guests_of_uris_that_answer_wait_for_none_that_does_not(host: Machine) -> None:
    lvg_install(host, "--profile", "graceful", "--no-enable", "--no-start")
    define(host, Guest("db"))
    ids = start(host, "db")
    uris = ["qemu:///system", *(private_daemon(host, name) for name in ("one", "two"))]
    host.run(f"setsid python3 -c '{MUTE}' >/srv/mute 2>&1 </dev/null & sleep 0.1")
    host.wait_for(lambda: "listening" in host.run("cat /srv/mute", check=False).stdout, "the mute listener")
    options = [word for uri in (REMOTE, *uris) for word in ("--uri", uri)]

    done = host.run(["stopvm", "stop", "--now", *options], check=False)
    assert done.returncode == 3, done.stderr
    lines = done.stderr.splitlines()
    out_of_reach = next(number for number, line in enumerate(lines) if "out of reach" in line)
    assert len([line for line in lines if re.search(r": (db|test): clean", line)]) == 3, done.stderr
    asked = next(number for number, line in enumerate(lines) if "asking 3 guests" in line)
    assert asked < out_of_reach, done.stderr
    assert REMOTE in lines[out_of_reach]
    assert serial(host, "db").ended == [ids["db"]]
    assert running(host) == set()
    _assert_it_lifts_what_it_says_and_no_more(host)
    for uri in uris[1:]:
        assert host.run(["virsh", "-q", "-c", uri, "list", "--name"]).stdout.strip() == ""
