"""The other shipped profiles at a real power-off."""

from __future__ import annotations

from guests import Guest, define, mark, running, serial, start, wait_alive
from install import lvg, lvg_install
from machine import Machine


def test_suspend_brings_guests_back_as_they_were(host: Machine) -> None:
    define(host, Guest("one"), Guest("two"))
    ids = start(host, "one", "two")
    lvg_install(host, "--profile", "suspend")
    host.poweroff()
    marks = {name: mark(host, name) for name in ids}
    assert all(serial(host, name).presses == 0 for name in ids)
    host.boot()
    assert {name: wait_alive(host, name, marks[name]) for name in ids} == ids
    assert running(host) == set(ids)
    lvg(host, "status")
