"""A stopvm that hangs: nobody asks systemd for more time, so its stop timeout ends it and libvirt-guests takes over."""

from __future__ import annotations

import pytest

from guests import Guest, check_disks, define, mark, serial, start, wait_alive
from install import lvg_install
from machine import Machine

UNIT = "graceful-shutdown.service"
# Each reacts to its second press only: the first comes from stopvm, the second can only come from the net.
GUESTS = (Guest("one", presses=2, disk=True), Guest("two", presses=2, shutdown=2, disk=True))
# The installed stopvm, whose loop is stuck a moment after it has asked. Whatever signal comes then is never looked at.
STUCK = """\
#!/usr/bin/python3
import runpy, signal, sys, time
import libvirt

def ask(domain, flags):
    asked(domain, flags)
    done.append(domain)
    if len(done) == 2:
        signal.alarm(1)

def stuck(*_):
    while True:
        time.sleep(600)

signal.signal(signal.SIGALRM, stuck)
done = []
asked, libvirt.virDomain.shutdownFlags = libvirt.virDomain.shutdownFlags, ask
sys.argv = ["stopvm", "stop"]
runpy.run_path("/usr/local/bin/stopvm", run_name="__main__")
"""


STOPPED, HANGS = "stopvm is stopped (SIGSTOP)", "stopvm hangs, and no SIGTERM ends it"


@pytest.mark.fault(STOPPED)
@pytest.mark.fault(HANGS)
def test_a_stopvm_that_stands_still_is_ended_and_the_net_takes_over(host: Machine) -> None:
    define(host, *GUESTS)
    ids = start(host, "one", "two")
    # `resend` so that a second press of stopvm's cannot come from a stopvm that runs on
    lvg_install(host, "--profile", "graceful", "--set", "resend=0")
    _begin(host)
    pid = host.run(["systemctl", "show", "-P", "ControlPID", UNIT]).stdout.strip()
    assert pid != "0"
    host.run(["kill", "-STOP", pid])
    host.wait_off()
    _assert_the_net_did_it(host, ids, STOPPED)
    assert "Stopping timed out. Terminating." in host.journal("-u", UNIT)
    _swallows_sigterm(host)


def _swallows_sigterm(host: Machine) -> None:
    (host.root / "srv/stuck").write_text(STUCK)
    (host.root / "srv/stuck").chmod(0o755)
    drop_in = host.root / f"etc/systemd/system/{UNIT}.d/99-stuck.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nExecStop=\nExecStop=/srv/stuck\n")
    marks = {guest.name: mark(host, guest.name) for guest in GUESTS}
    host.boot()
    ids = {name: wait_alive(host, name, since) for name, since in marks.items()}
    _begin(host)
    host.wait_off()
    _assert_the_net_did_it(host, ids, HANGS)
    assert "Killing." in host.journal("-u", UNIT)


def _begin(host: Machine) -> None:
    """Begin to power off, and return when stopvm has asked the guests."""
    marks = {guest.name: mark(host, guest.name) for guest in GUESTS}
    host.begin_poweroff()
    host.wait_for(lambda: all(serial(host, name, marks[name]).presses == 1 for name in marks), "the first press")


def _assert_the_net_did_it(host: Machine, ids: dict[str, str], scenario: str) -> None:
    for name, boot_id in ids.items():
        assert boot_id in serial(host, name).ended
    assert "Starting shutdown on guest: one" in host.journal("-u", "libvirt-guests")
    check_disks(host, *ids, scenario=scenario)
