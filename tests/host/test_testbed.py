"""The testbed itself, with Debian's own libvirt-guests: what the other tests stand on."""

from __future__ import annotations

from guests import Guest, define, running, saved, serial, start
from machine import Machine

STOCK = "ON_BOOT=ignore\nON_SHUTDOWN=shutdown\nPARALLEL_SHUTDOWN=10\nSHUTDOWN_TIMEOUT=20\n"


def test_guests_react_as_told_and_the_host_really_goes_down(bare: Machine) -> None:
    (bare.root / "etc/default/libvirt-guests").write_text(STOCK)
    bare.boot()
    define(bare, Guest("quick"), Guest("twice", presses=2), Guest("deaf", deaf=True))
    ids = start(bare, "quick", "twice", "deaf")
    assert running(bare) == {"quick", "twice", "deaf"}
    bare.run("virsh -q managedsave deaf")
    assert saved(bare) == {"deaf"}
    assert start(bare, "deaf")["deaf"] == ids["deaf"], "restored, it is the same running guest"
    bare.run("virsh -q shutdown twice")
    bare.wait_for(lambda: serial(bare, "twice").presses == 1, "the first press")
    bare.poweroff()
    for name in ("quick", "twice"):
        assert serial(bare, name).ended == [ids[name]]
    assert serial(bare, "deaf").presses == 1, "it saw the press, and was then cut off"
    assert not serial(bare, "deaf").ended
    assert "Shutdown of guest quick complete" in bare.journal("-u", "libvirt-guests")
