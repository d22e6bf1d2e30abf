"""stopvm is killed at each of its phases: libvirt-guests, its own record or both together make it right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guests import Guest, check_disks, define, log_by_virtlogd, mark, running, saved, serial, start, wait_alive
from install import install_own, last_stop
from machine import Machine

UNIT = "graceful-shutdown.service"
GUESTS = (Guest("one", disk=True), Guest("two", disk=True, shutdown=16))
# The installed stopvm, which kills itself when it comes to the phase that /srv/phase names.
DYING = """\
#!/usr/bin/python3
import os, runpy, signal, sys, threading, time
import libvirt

PHASE = open("/srv/phase").read()
HISTORY, IMAGE = "/var/lib/lvg/history/", "/var/lib/libvirt/qemu/save/two.save"
records = []

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def watch(event, details):
    if event == "open" and PHASE == "known" and str(details[0]).startswith(HISTORY + "."):
        die()
    if event == "os.rename" and str(details[1]).startswith(HISTORY):
        records.append(details)
        if PHASE == "writing" and len(records) == 2:
            die()

def ask(domain, flags):
    asked(domain, flags)
    die()

def save(domain, flags=0):
    threading.Thread(target=die_with_half_an_image).start()
    return saved(domain, flags)

def die_with_half_an_image():
    while not os.path.exists(IMAGE):
        time.sleep(0.001)
    die()

sys.addaudithook(watch)
asked, saved = libvirt.virDomain.shutdownFlags, libvirt.virDomain.managedSave
libvirt.virDomain.managedSave = save
if PHASE == "asked":
    libvirt.virDomain.shutdownFlags = ask
if PHASE == "connects":
    libvirt.open = die
if PHASE == "done":
    os._exit = die
sys.argv = ["stopvm", "stop"]
runpy.run_path("/usr/local/bin/stopvm", run_name="__main__")
"""
INSTEAD = "[Service]\nExecStop=\nExecStop=/srv/dying\n"
SAVES = '[[guest]]\nmatch = "two"\naction = "save"\n'
# A command that kills whoever called it, and then does not end.
HOOK = '[[guest]]\nmatch = "two"\nbefore_stop_host = [["/srv/hook"]]\n'
MURDER = "#!/bin/sh\nkill -KILL $PPID\nexec sleep 600\n"
CONNECTS = "stopvm is killed before it asks libvirt"
KNOWN = "stopvm is killed when it knows the guests, before its record"
ASKED = "stopvm is killed when it has asked one guest"
WRITING = "stopvm is killed while it writes a verdict down"
SAVING = "stopvm is killed while a guest is saved"
HOOKED = "stopvm is killed during a command before the stop"
DONE = "stopvm is killed when all is done"


@pytest.mark.fault(CONNECTS)
@pytest.mark.fault(KNOWN)
def test_killed_before_its_record_libvirts_logs_tell_who_ran(own_boots: Machine) -> None:
    host = own_boots
    log_by_virtlogd(host)
    ids = _running(host)
    for phase, scenario in (("connects", CONNECTS), ("known", KNOWN)):
        before = len(_records(host))
        _die(host, phase)
        _net_did_it(host, ids)
        check_disks(host, *ids, scenario=scenario)
        assert len(_records(host)) == before
        ids = _all_back(host, ids)
        assert "left no record" in host.journal("-u", "graceful-restore", "-p", "err")
        assert len(_records(host)) == before + 1
    (host.root / "srv/phase").write_text("none")
    host.poweroff()
    host.boot()
    host.wait_for(lambda: running(host) == set(ids), "the restore from a record of stopvm's own")
    assert len(_records(host)) == 3, "a shutdown on record is noted once"


def _records(host: Machine) -> list[Path]:
    return sorted((host.root / "var/lib/lvg/history").glob("*.json"))


@pytest.mark.fault(ASKED)
@pytest.mark.fault(WRITING)
@pytest.mark.fault(SAVING)
@pytest.mark.fault(HOOKED)
@pytest.mark.fault(DONE)
def test_killed_later_the_guests_end_well_and_come_back(own_boots: Machine) -> None:
    host = own_boots
    ids = _running(host)
    for phase, scenario in (("asked", ASKED), ("writing", WRITING)):
        _die(host, phase)
        _net_did_it(host, ids)
        check_disks(host, *ids, scenario=scenario)
        ids = _all_back(host, ids)

    install_own(host, SAVES)
    _die(host, "saving")
    assert serial(host, "one").ended[-1] == ids["one"]
    check_disks(host, "one", forced=["two"], scenario=SAVING)
    back = _all_back(host, ids, two="saved")
    assert back["two"] == ids["two"], "it was saved whole, so it is the same running guest"

    install_own(host, HOOK)
    _die(host, "hook")
    _net_did_it(host, back)
    check_disks(host, *back, scenario=HOOKED)
    ids = _all_back(host, back)

    install_own(host, "")
    _die(host, "done")
    assert all(serial(host, name).ended[-1] == boot_id for name, boot_id in ids.items())
    check_disks(host, *ids, scenario=DONE)
    assert {guest["verdict"] for guest in last_stop(host)["guests"]} == {"clean"}, "the record was complete"
    _all_back(host, ids)


def _running(host: Machine) -> dict[str, str]:
    for name, text in (("dying", DYING), ("hook", MURDER)):
        (host.root / "srv" / name).write_text(text)
        (host.root / "srv" / name).chmod(0o755)
    drop_in = host.root / f"etc/systemd/system/{UNIT}.d/99-dying.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(INSTEAD)
    define(host, *GUESTS)
    ids = start(host, *(guest.name for guest in GUESTS))
    install_own(host, "")
    return ids


def _die(host: Machine, phase: str) -> None:
    (host.root / "srv/phase").write_text(phase)
    host.poweroff()
    assert "Control process exited, code=killed, status=9/KILL" in host.journal("-u", UNIT), phase


def _net_did_it(host: Machine, ids: dict[str, str]) -> None:
    assert "Starting shutdown on guest: two" in host.journal("-u", "libvirt-guests")
    for name, boot_id in ids.items():
        assert serial(host, name).ended[-1] == boot_id


def _all_back(host: Machine, ids: dict[str, str], **verdicts: str) -> dict[str, str]:
    """Switch on: all guests come back, and the record says how each one ended, by default clean."""
    marks = {name: mark(host, name) for name in ids}
    host.boot()
    back = {name: wait_alive(host, name, since) for name, since in marks.items()}
    assert running(host) == set(ids)
    host.wait_for(lambda: saved(host) == set(), "the images to be gone")
    said = {guest["name"]: guest["verdict"] for guest in last_stop(host)["guests"]}
    assert said == {name: verdicts.get(name, "clean") for name in ids}
    assert not re.search("lost power", host.journal("-u", "graceful-restore"))
    return back
