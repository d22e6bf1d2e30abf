"""More than one stop at once, more than one power-off, and the other ways in which a host goes down."""

from __future__ import annotations

import pytest

from guests import Guest, check_disks, define, mark, running, saved, serial, start, wait_alive
from install import install_own, lvg_install
from machine import Machine

BY_HAND, DURING = (
    "two `stopvm stop --now` by hand at once",
    "a power-off during a stop by hand, and another one by hand",
)
TWICE, SOON = "a second power-off during the first one", "a power-off while guests are still booting"
REBOOT, HALT, SOFT = "a reboot", "a halt", "a soft reboot (systemd 254 and newer)"
BOTH = """
stopvm stop --now >/srv/first 2>&1 & first=$!
stopvm stop --now >/srv/second 2>&1; echo $?
wait $first; echo $?
"""
IN_BACKGROUND = "setsid stopvm stop --now >/srv/by-hand 2>&1 </dev/null &"


@pytest.mark.fault(BY_HAND)
@pytest.mark.fault(DURING)
def test_more_than_one_stopvm(host: Machine) -> None:
    clean = (Guest("quick", disk=True), Guest("slow", shutdown=4, disk=True))
    define(host, *clean, Guest("deaf", deaf=True, disk=True))
    ids = start(host, "quick", "slow", "deaf")
    install_own(host, '[[guest]]\nmatch = "deaf"\ntimeout = 20\n')
    codes = host.run(BOTH).stdout.split()
    assert set(codes) <= {"0", "1"}, f"nobody was left: {codes}"
    assert running(host) == set()
    _ended_as_they_should(host, ids)
    host.poweroff()
    check_disks(host, "quick", "slow", forced=["deaf"], scenario=BY_HAND)
    ids = _all_back(host, ids)

    since, before = mark(host, "slow"), mark(host, "deaf")
    host.run(IN_BACKGROUND)
    host.wait_for(lambda: serial(host, "slow", since).presses == 1, "the stop by hand to ask the guests")
    host.begin_poweroff()
    host.wait_for(lambda: serial(host, "deaf", before).presses > 1, "the unit's stop to ask the guests")
    host.run(IN_BACKGROUND)
    host.wait_off()
    _ended_as_they_should(host, ids)
    check_disks(host, "quick", "slow", forced=["deaf"], scenario=DURING)
    _all_back(host, ids)


def _ended_as_they_should(host: Machine, ids: dict[str, str]) -> None:
    for name in ("quick", "slow"):
        assert serial(host, name).ended[-1] == ids[name]
    assert not serial(host, "deaf").ended


def _all_back(host: Machine, ids: dict[str, str]) -> dict[str, str]:
    marks = {name: mark(host, name) for name in ids}
    host.boot()
    back = {name: wait_alive(host, name, since) for name, since in marks.items()}
    assert {name for name in ids if back[name] == ids[name]} == ids.keys() & {"deaf"}, "only that one was saved"
    assert running(host) == set(ids)
    host.wait_for(lambda: saved(host) == set(), "the images to be gone")
    assert "lost power" not in host.journal("-u", "graceful-restore")
    return back


@pytest.mark.fault(TWICE)
@pytest.mark.fault(SOON)
def test_power_off_twice(host: Machine) -> None:
    define(host, Guest("quick", disk=True), Guest("slow", shutdown=4, disk=True))
    ids = start(host, "quick", "slow")
    lvg_install(host, "--profile", "graceful", "--set", "resend=5")
    host.begin_poweroff()
    host.wait_for(lambda: serial(host, "slow").presses, "stopvm to ask the guests")
    host.begin_poweroff()
    host.run("systemctl reboot --no-block", check=False)
    host.wait_off()
    _both_ended(host, ids, TWICE)

    marks = {name: mark(host, name) for name in ids}
    host.boot()
    host.wait_for(lambda: running(host) == set(ids), "the restore to start the guests")
    host.poweroff()
    ids = {name: serial(host, name, since).booted[-1] for name, since in marks.items()}
    _both_ended(host, ids, SOON)
    _all_back(host, ids)


def _both_ended(host: Machine, ids: dict[str, str], scenario: str) -> None:
    assert all(serial(host, name).ended[-1] == boot_id for name, boot_id in ids.items())
    check_disks(host, *ids, scenario=scenario)


@pytest.mark.fault(REBOOT)
@pytest.mark.fault(HALT)
@pytest.mark.fault(SOFT)
def test_other_ways_down(host: Machine, release: str) -> None:
    define(host, Guest("quick", disk=True), Guest("slow", shutdown=4, disk=True))
    ids = start(host, "quick", "slow")
    lvg_install(host, "--profile", "graceful")
    for verb, scenario in (("reboot", REBOOT), ("halt", HALT)):
        host.run(["systemctl", verb, "--no-block"])
        host.wait_off()
        _both_ended(host, ids, scenario)
        ids = _all_back(host, ids)
    if release == "bookworm":
        return
    lvg_install(host, "--profile", "graceful", "--set", 'boot="ignore"')  # else nobody could look at the disks
    host.run("systemctl soft-reboot --no-block")
    host.wait_for(lambda: serial(host, "slow").ended[-1] == ids["slow"], "the guests to end")
    host.wait_for(lambda: host.state() in ("running", "degraded"), "the host to be up again")
    assert running(host) == set()
    host.poweroff()
    _both_ended(host, ids, SOFT)
