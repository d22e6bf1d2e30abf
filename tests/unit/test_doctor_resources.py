"""Room for saves, and the UPS: each check fires, and is silent on a healthy host."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from doctorhost import SAVES, facts, guest, ids, step, timeline, with_file, with_policy, with_survey, with_unit
from lvg.doctor import Finding, HostFacts, Qemu, resources, ups
from lvg.stopvm.policy import GuestPolicy, Net

UPSMON = """\
# MONITOR old@localhost 1 admin secret primary
MONITOR rack@localhost 1 admin secret primary
MONITOR shed@localhost 0 admin secret secondary
SHUTDOWNCMD "/sbin/shutdown -h +0"
FINALDELAY 5
"""
# What upsc says of an APC Back-UPS by usbhid-ups.
UPSC = {"battery.charge": "100", "battery.charge.low": "10", "battery.runtime": "1500", "battery.runtime.low": "120"}
APCUPSD = """\
## apcupsd.conf v1.1 ##
UPSCABLE usb
UPSTYPE usb
BATTERYLEVEL 5
MINUTES 3
TIMEOUT 0
KILLDELAY 0
"""


def look(name: str, found: HostFacts) -> list[Finding]:
    (check,) = (each for each in resources.CHECKS if each.id == name)
    return list(check.look(found))


def severities(name: str, found: HostFacts) -> list[tuple[str, str, str]]:
    (check,) = (each for each in resources.CHECKS if each.id == name)
    return ids(check.look, found)


def saving(room: float, resident: float = 0.0, **policy: object) -> HostFacts:
    """A host with two guests of 1000 MiB, and `room` MiB for those that are saved."""
    guests = (guest("a", pid=1, memory=1000.0), guest("b", pid=2, memory=1000.0))
    processes = tuple(Qemu(each.pid, each.name, "system", 0, resident) for each in guests)
    base = GuestPolicy(**policy)  # type: ignore[arg-type]  # a test's own words
    return with_policy(facts(*guests, free={SAVES: room}, qemus=processes), base=base)


@pytest.mark.parametrize("check", resources.CHECKS, ids=lambda check: check.id)
def test_a_healthy_host_is_silent(check: object) -> None:
    with_nut = with_unit(
        with_file(facts(), "/etc/nut/upsmon.conf", UPSMON), "nut-monitor.service", ActiveState="active"
    )
    with_apc = with_unit(with_file(facts(), "/etc/apcupsd/apcupsd.conf", APCUPSD), "apcupsd.service")
    for found in (facts(), with_nut, with_apc, replace(facts(), free={}), saving(5000.0, action="save")):
        assert list(check.look(found)) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("room", "resident", "expected"),
    [
        (2100.0, 0.0, []),
        (1500.0, 0.0, [("D1", "failure", "")]),
        (1500.0, 400.0, [("D1", "warning", "")]),  # what they have now fits
        (700.0, 400.0, [("D1", "failure", "")]),
        (300.0, 400.0, [("D1", "failure", "")]),  # and that it is said once
        (2050.0, 0.0, [("D1", "failure", "")]),  # stopvm leaves the host some room
    ],
)
def test_guests_that_are_saved_need_room(room: float, resident: float, expected: list[tuple[str, str, str]]) -> None:
    found = saving(room, resident, action="save")
    assert severities("D1", found) == expected
    for finding in look("D1", found):
        assert "a, b" in finding.message
        assert SAVES in finding.remedy
    assert severities("D1", with_file(found, "/etc/libvirt/qemu.conf", 'save_image_format = "zstd"\n')) == []
    commented = '#save_image_format = "zstd"\nsave_image_format = "raw"\n'
    assert severities("D1", with_file(found, "/etc/libvirt/qemu.conf", commented)) == expected


def test_guests_that_libvirt_guests_saves_need_room() -> None:
    found = with_policy(saving(1500.0, action="none"), net=Net(on_shutdown="suspend"))
    assert severities("D1", found) == [("D1", "failure", "")]
    assert severities("D1", with_policy(found, net=Net())) == []


def test_a_guest_too_big_to_be_saved_at_its_deadline() -> None:
    assert severities("D1", saving(1500.0)) == [], "each fits alone"
    assert severities("D1", saving(900.0)) == [("D1", "warning", "")]
    assert severities("D1", saving(900.0, on_timeout=("destroy",))) == []
    passed = saving(900.0)
    big = tuple(replace(each, hostdev=True) for each in passed.answers[0].guests)
    assert severities("D1", replace(passed, answers=(replace(passed.answers[0], guests=big),))) == [], "never saved"


def test_a_paused_guest_is_saved_at_once() -> None:
    found = saving(900.0, on_timeout=("leave",))
    paused, other = found.answers[0].guests
    found = replace(found, answers=(replace(found.answers[0], guests=(replace(paused, state="paused"), other)),))
    assert severities("D1", found) == [("D1", "failure", "a")]


def nut(worst: float, **said: str) -> HostFacts:
    """A host with NUT whose guests may take so many seconds."""
    plan = timeline(step("vm"), worst=worst)
    found = facts(timeline=plan, ups={"rack@localhost": {**UPSC, **said}})
    return with_unit(with_file(found, "/etc/nut/upsmon.conf", UPSMON), "nut-monitor.service", ActiveState="active")


def test_a_ups_of_nut_that_is_empty_too_soon() -> None:
    found = nut(485.0)
    assert severities("D3", found) == [("D3", "failure", "")]
    (finding,) = look("D3", found)
    assert "485 s" in finding.message
    assert "145 s" in finding.message, "10 % of 1500 s, without FINALDELAY"
    assert "override.battery.runtime.low = 520" in finding.remedy
    assert "battery.runtime.low: 120" in finding.evidence
    assert severities("D3", nut(140.0)) == []
    assert severities("D3", nut(485.0, **{"battery.runtime.low": "520"})) == []
    assert severities("D3", with_unit(found, "nut-monitor.service", ActiveState="inactive")) == []
    assert severities("D3", replace(found, ups={})) == [], "nobody knows"
    assert severities("D3", replace(found, timeline=timeline(worst=485.0))) == [], "no guest runs"


def test_ups_conf_counts_more_than_what_the_ups_says() -> None:
    text = "[other]\noverride.battery.runtime.low = 900\n[rack]\n  driver = usbhid-ups\n  ignorelb\n"
    found = with_file(nut(485.0), "/etc/nut/ups.conf", text)
    assert severities("D3", found) == [("D3", "failure", "")]
    mended = with_file(found, "/etc/nut/ups.conf", text + '  override.battery.runtime.low = "600"\n')
    assert severities("D3", mended) == []


def test_a_timer_may_order_the_shutdown_earlier() -> None:
    found = with_file(nut(485.0), "/etc/nut/upssched.conf", "AT ONBATT * START-TIMER down 60\n")
    assert severities("D3", found) == [("D3", "warning", "")]


def test_apcupsd_that_waits_too_long() -> None:
    found = facts(timeline=timeline(step("vm"), worst=485.0))
    path = "/etc/apcupsd/apcupsd.conf"
    found = with_unit(with_file(found, path, APCUPSD), "apcupsd.service", ActiveState="active")
    assert severities("D3", found) == [("D3", "failure", "")]
    (finding,) = look("D3", found)
    assert finding.remedy.startswith(f"sed -i 's/^MINUTES .*/MINUTES 9/' {path}; systemctl restart apcupsd")
    assert severities("D3", with_file(found, path, APCUPSD.replace("MINUTES 3", "MINUTES 9"))) == []
    early = [APCUPSD.replace("TIMEOUT 0", "TIMEOUT 60"), APCUPSD.replace("BATTERYLEVEL 5", "BATTERYLEVEL 50")]
    assert [severities("D3", with_file(found, path, text)) for text in early] == [[("D3", "warning", "")]] * 2
    for unknown in ("#MINUTES 3", "MINUTES -1"):
        assert severities("D3", with_file(found, path, APCUPSD.replace("MINUTES 3", unknown))) == []
    assert severities("D3", with_file(found, path, APCUPSD.replace("UPSTYPE usb", "UPSTYPE dumb"))) == []
    on_openrc = with_survey(with_unit(found, "apcupsd.service", ActiveState=""), started=frozenset({"apcupsd"}))
    assert severities("D3", on_openrc) == [("D3", "failure", "")]


@pytest.mark.parametrize(
    ("command", "forced"),
    [
        ("/sbin/shutdown -h +0", False),
        ("/usr/bin/systemctl poweroff", False),
        ("/usr/bin/systemctl --no-block poweroff", False),
        ("logger foo -f /x; /sbin/poweroff", False),
        ("/sbin/poweroff -f", True),
        ("/sbin/halt -pf", True),
        ("/usr/bin/systemctl poweroff --force", True),
        ("/usr/bin/systemctl -ff reboot", True),
        ("echo o >/proc/sysrq-trigger", True),
    ],
)
def test_a_shutdown_command_that_stops_nobody(command: str, forced: bool) -> None:
    text = f'# SHUTDOWNCMD "/sbin/poweroff -f"\nSHUTDOWNCMD "{command}"\n'
    found = with_file(nut(10.0), "/etc/nut/upsmon.conf", text)
    assert severities("D5", found) == ([("D5", "failure", "")] if forced else [])
    if forced:
        assert look("D5", found)[0].evidence.startswith("/etc/nut/upsmon.conf:2: SHUTDOWNCMD")
    assert severities("D5", with_unit(found, "nut-monitor.service", ActiveState="inactive")) == []


def test_a_script_that_may_switch_the_host_off() -> None:
    script = "#!/bin/sh\n# poweroff -f would be quicker\ncase $1 in\ndown) systemctl poweroff -f ;;\nesac\n"
    found = with_file(nut(10.0), "/etc/nut/upssched-cmd", script)
    assert severities("D5", found) == [("D5", "warning", "")]
    assert look("D5", found)[0].evidence.startswith("/etc/nut/upssched-cmd:4:")
    of_apc = with_file(facts(), "/etc/apcupsd/doshutdown", script)
    assert severities("D5", of_apc) == [], "apcupsd does not run"
    assert severities("D5", with_unit(of_apc, "apcupsd.service", ActiveState="active")) == [("D5", "warning", "")]


def test_upsc_is_asked_for_the_upses_that_power_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "upsc"
    program.write_text('#!/bin/sh\necho "battery.runtime: 1500"; echo "asked: $1"; echo "Init SSL" >&2\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    files = {"/etc/nut/upsmon.conf": UPSMON}
    assert ups.read(files, seconds=30) == {"rack@localhost": {"battery.runtime": "1500", "asked": "rack@localhost"}}
    program.write_text("#!/usr/bin/python3\nimport time\ntime.sleep(60)\nprint('battery.runtime: 1')\n")
    assert ups.read(files, seconds=0.2) == {}, "one that hangs is not waited for"
    assert ups.read({}) == {}


def test_without_upsc_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("upsc")

    monkeypatch.setattr(subprocess, "run", missing)
    assert ups.read({"/etc/nut/upsmon.conf": UPSMON}) == {}
