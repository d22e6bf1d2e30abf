"""What `lvg doctor` says of each guest on a real host, and that its remedies, pasted as they are, are cures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from guests import Guest, define, running, serial, start
from install import lvg, lvg_install
from machine import Machine

LOOK = "import lvg.guests, time; begin = time.monotonic(); answer, = lvg.guests.look(('default',), 5)"
TELL = "print(time.monotonic() - begin, answer.error, *(f'{each.name}={each.agent}' for each in answer.guests))"
PULL = "<domainbackup mode='pull'><server transport='unix' socket='/var/lib/libvirt/qemu/held.nbd'/></domainbackup>"
AWAY = """\
[[guest]]
match = "fine"
needs = ["away"]
before_stop = [["sync"]]

[[guest]]
match = "held"
before_stop = [["sync"]]
"""


def _doctor(machine: Machine) -> dict[str, Any]:
    done = lvg(machine, "doctor", "--json", check=False)
    document: dict[str, Any] = json.loads(done.stdout)
    bad = any(finding["severity"] == "failure" for finding in document["findings"])
    assert done.returncode == (9 if bad else 0), done.stderr
    return document


def _doctor_finds(machine: Machine, expected: Mapping[str, str]) -> dict[str, Any]:
    """The document with these findings about guests. It is asked for again: a busy guest's agent may be silent once."""
    for _ in range(5):
        document = _doctor(machine)
        if _of_guests(document) == expected:
            break
    assert _of_guests(document) == expected
    return document


def _of_guests(document: Mapping[str, Any]) -> dict[str, str]:
    """Severities by check and guest, of the checks of guests alone."""
    mine = [finding for finding in document["findings"] if finding["id"].startswith("E")]
    return {f"{finding['id']} {finding['guest']}".strip(): finding["severity"] for finding in mine}


def _remedy(document: Mapping[str, Any], check: str, guest: str) -> str:
    (found,) = [each for each in document["findings"] if (each["id"], each["guest"]) == (check, guest)]
    return str(found["remedy"])


def _libvirtd_said(machine: Machine) -> list[str]:
    machine.run("journalctl --sync")
    return machine.journal("-u", "libvirtd").splitlines()


def _leaves_no_trace(machine: Machine, name: str) -> None:
    """Asking marks no guest as tainted, and libvirtd has nothing to complain about."""
    before = _libvirtd_said(machine)
    document = _doctor(machine)
    (shown,) = (each for each in document["guests"] if each["name"] == name)
    assert shown["agent"] == "ok"
    assert lvg(machine, "plan").returncode == 0
    assert _libvirtd_said(machine) == before
    assert "custom-ga" not in machine.run(["virsh", "dominfo", name]).stdout
    assert "custom-ga" not in (machine.root / f"var/log/libvirt/qemu/{name}.log").read_text()


def test_guests_that_would_not_end_cleanly_are_named_and_cured(host: Machine) -> None:
    everyone = [
        Guest("fine", agent=True),
        Guest("frozen", agent="frozen"),
        Guest("held", disk=True),
        Guest("paused"),
        Guest("again"),
        Guest("passing"),
    ]
    define(host, *everyone)
    again = host.root / "srv/again.xml"
    again.write_text(again.read_text().replace("<on_poweroff>destroy<", "<on_poweroff>restart<"))
    host.run("virsh -q undefine again && virsh -q define /srv/again.xml")
    host.run("virsh -q undefine passing && virsh -q create /srv/passing.xml")
    lvg_install(host, "--profile", "graceful")
    ids = start(host, "fine")
    _leaves_no_trace(host, "fine")
    ids |= start(host, "frozen", "held", "paused", "again")

    host.run("virsh -q suspend paused")
    (host.root / "srv/backup.xml").write_text(PULL)
    host.run("virsh -q backup-begin held /srv/backup.xml")
    before = running(host)
    sick = _doctor_finds(
        host,
        {
            "E1 paused": "failure",
            "E2 again": "failure",
            "E4 frozen": "warning",
            "E8 passing": "warning",
            "E10 held": "warning",
        },
    )
    assert running(host) == before, "nobody was changed"

    host.run("virsh -q domjobabort held")
    for check, guest in (("E1", "paused"), ("E2", "again"), ("E8", "passing")):
        host.run(_remedy(sick, check, guest))
    _doctor_finds(host, {"E4 frozen": "warning"})  # which can only be cured from inside

    folder = host.root / "etc/lvg/profiles"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "graceful.toml").write_text(f'extends = "graceful"\n{AWAY}')
    lvg_install(host, "--profile", "graceful")
    _doctor_finds(host, {"E4 frozen": "warning", "E5 held": "failure", "E16": "warning"})
    assert all(serial(host, name).booted == [ids[name]] for name in ids), "nobody was started anew"


def test_a_libvirt_that_hangs_does_not_hang_the_question(host: Machine) -> None:
    define(host, Guest("vm"))
    start(host, "vm")
    ask = ["/usr/bin/python3", "-c", f"import sys; sys.path[:0] = ['/opt/lvg/installer']; {LOOK}; {TELL}"]
    said = host.run(ask).stdout.split()
    assert said[1:] == ["vm=none"]
    daemon = host.run("systemctl show --property MainPID --value libvirtd").stdout.strip()
    host.run(f"kill -STOP {daemon}")
    begin = time.monotonic()
    assert "libvirt did not answer within 5 s" in host.run(ask).stdout
    assert time.monotonic() - begin < 60
    host.run(f"kill -CONT {daemon}")
    host.wait_for(lambda: host.run(ask).stdout.split()[1:] == ["vm=none"], "libvirt to answer again")
