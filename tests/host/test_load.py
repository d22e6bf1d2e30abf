"""Many guests on few processors: all that they need is time, and they get it."""

from __future__ import annotations

import pytest

from guests import Guest, check_disks, define, serial, start
from install import last_stop, lvg_install
from machine import Machine

GUESTS = [Guest(f"g{number:02}", shutdown=1 + number % 4, disk=True) for number in range(30)]
AT_ONCE = 6  # started together, which is what the processors are busy with
OFF_WITHIN = 600


@pytest.mark.fault("30 guests on 2 processors")
def test_thirty_guests_end_cleanly(host: Machine) -> None:
    define(host, *GUESTS)
    ids = dict[str, str]()
    for some in range(0, len(GUESTS), AT_ONCE):
        ids |= start(host, *(guest.name for guest in GUESTS[some : some + AT_ONCE]))
    lvg_install(host, "--profile", "graceful")
    host.poweroff(OFF_WITHIN)
    record = last_stop(host)
    assert {guest["name"]: guest["verdict"] for guest in record["guests"]} == dict.fromkeys(ids, "clean")
    assert record["exit_code"] == 0
    assert {name: serial(host, name).ended for name in ids} == {name: [boot_id] for name, boot_id in ids.items()}
    check_disks(host, *ids)
