"""The part of bench/stop that boots a host with real guests, which take their time to go down."""

from __future__ import annotations

from collections.abc import Callable

import roots
from guests import Guest, define, running, start
from install import copy_checkout, lvg_install
from machine import Machine

SECONDS = (1, 1, 2, 2, 3, 3, 4, 4)  # that each guest needs after the press
LIMIT = 0.5  # seconds more than the slowest guest
SLOWEST = "the slowest guest alone, until it is off"
ALL = "all pressed at once, until they are off"
SLOWEST_ENDED = "  to the end of its QEMU process"
ALL_ENDED = "  to the end of the last QEMU process"
STOPVM = "stopvm stop --now"
GUESTS = [Guest(f"needs{seconds}-{number}", shutdown=seconds) for number, seconds in enumerate(SECONDS)]
# Presses the button of each guest and waits: the least that any program needs. Prints the seconds to the end of the
# last process, and until libvirt has put the last guest away, which takes it 0.2 s more (virProcessKillPainfully).
PRESS = """
import libvirt, os, select, sys, time
connection = libvirt.open()
found = [connection.lookupByName(name) for name in sys.argv[1:]]
poll, left = select.poll(), len(found)
for name in sys.argv[1:]:
    poll.register(os.pidfd_open(int(open(f"/run/libvirt/qemu/{name}.pid").read())), select.POLLIN)
begin = time.monotonic()
for domain in found:
    domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
while left:
    for handle, _ in poll.poll():
        poll.unregister(handle)
        left -= 1
print(time.monotonic() - begin)
while any(domain.isActive() for domain in found):
    time.sleep(0.01)
print(time.monotonic() - begin)
"""


def measure(release: str, runs: int) -> dict[str, list[float]]:
    """Return the seconds of each way to stop the guests, in turn, `runs` times."""
    names = [guest.name for guest in GUESTS]
    ways: dict[tuple[str, ...], tuple[list[str], Callable[[Machine], list[float]]]] = {
        (SLOWEST, SLOWEST_ENDED): (names[-1:], lambda machine: _pressed(machine, names[-1:])),
        (ALL, ALL_ENDED): (names, lambda machine: _pressed(machine, names)),
        (STOPVM,): (names, lambda machine: _timed(machine, "stopvm stop --now")),
        ("libvirt-guests.sh, one after another",): (names, lambda machine: _stock(machine, 0)),
        (f"libvirt-guests.sh, PARALLEL_SHUTDOWN={len(names)}",): (names, lambda machine: _stock(machine, len(names))),
    }
    found: dict[str, list[float]] = {row: [] for rows in ways for row in rows}
    with Machine([roots.guest_layer(), roots.host_root(release)]) as machine:
        copy_checkout(machine.root)
        machine.boot()
        define(machine, *GUESTS)
        lvg_install(machine, "--profile", "graceful")
        (machine.root / "srv/press.py").write_text(PRESS)
        for _ in range(runs):
            for rows, (who, act) in ways.items():
                start(machine, *who)
                for row, seconds in zip(rows, act(machine), strict=True):
                    found[row].append(seconds)
                assert running(machine) == set(), f"{rows[0]} left guests running"
    return found


def _pressed(machine: Machine, names: list[str]) -> list[float]:
    ended, off = map(float, machine.run(["/usr/bin/python3", "-I", "/srv/press.py", *names]).stdout.split())
    return [off, ended]


def _timed(machine: Machine, command: str) -> list[float]:
    """Return the seconds of a whole process, by the clock of the host it runs on."""
    said = machine.run(f"date +%s.%N; {command} >/srv/said 2>&1; echo $?; date +%s.%N").stdout.split()
    assert said[1] == "0", (machine.root / "srv/said").read_text()
    return [float(said[2]) - float(said[0])]


def _stock(machine: Machine, parallel: int) -> list[float]:
    settings = f"ON_SHUTDOWN=shutdown\nSHUTDOWN_TIMEOUT=240\nPARALLEL_SHUTDOWN={parallel}\n"
    (machine.root / "etc/default/libvirt-guests").write_text(settings)
    took = _timed(machine, "/usr/lib/libvirt/libvirt-guests.sh stop")
    machine.run("rm -f /var/lib/libvirt/libvirt-guests")
    return took
