"""Several URIs on a real host: QEMU's, two libvirt daemons of their own, and a remote one that never answers."""

from __future__ import annotations

import re

from guests import Guest, define, running, serial, start
from install import lvg_install
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
REMOTE = "qemu+tcp://127.0.0.1/system"


def private_daemon(machine: Machine, name: str) -> str:
    """Start a libvirt daemon with the test driver, whose guest is called "test"; return its URI."""
    machine.run(PRIVATE.format(name=name))
    uri = f"test+unix:///default?socket=/run/{name}/libvirt/libvirt-sock"
    # The driver forgets its guests with the last connection.
    machine.run(f"setsid sh -c 'sleep 600 | virsh -c {uri}' >/dev/null 2>&1 </dev/null & sleep 0.1")
    machine.wait_for(lambda: "test" in machine.run(["virsh", "-c", uri, "list", "--name"], check=False).stdout, 20, uri)
    return uri


def test_guests_of_uris_that_answer_wait_for_none_that_does_not(host: Machine) -> None:
    lvg_install(host, "--profile", "graceful", "--no-enable", "--no-start")
    define(host, Guest("db"))
    ids = start(host, "db")
    uris = ["qemu:///system", *(private_daemon(host, name) for name in ("one", "two"))]
    host.run(f"setsid python3 -c '{MUTE}' >/srv/mute 2>&1 </dev/null & sleep 0.1")
    host.wait_for(lambda: "listening" in host.run("cat /srv/mute", check=False).stdout, 60, "the mute listener")
    options = [word for uri in (REMOTE, *uris) for word in ("--uri", uri)]

    done = host.run(["stopvm", "stop", "--now", *options], check=False)
    assert done.returncode == 3, done.stderr
    lines = done.stderr.splitlines()
    out_of_reach = next(number for number, line in enumerate(lines) if "out of reach" in line)
    clean = [number for number, line in enumerate(lines) if re.search(r": (db|test): clean", line)]
    assert len(clean) == 3, done.stderr
    assert max(clean) < out_of_reach, done.stderr
    assert REMOTE in lines[out_of_reach]
    assert serial(host, "db").ended == [ids["db"]]
    assert running(host) == set()
    for uri in uris[1:]:
        assert host.run(["virsh", "-q", "-c", uri, "list", "--name"]).stdout.strip() == ""
