"""The texts of the units: what systemd makes of them, and the promises in them."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lvg import units

UNITS = {
    units.SHUTDOWN: units.graceful_shutdown("/usr/local/bin/stopvm"),
    units.RESTORE: units.graceful_restore("/usr/local/bin/stopvm"),
}
TEXTS = {
    **UNITS,
    **{f"{unit}.d/{on}": units.dropin(unit, on) for unit in (units.GUESTS, units.TARGET) for on in (True, False)},
    "own.d": units.dropin(units.SHUTDOWN, True),
    "overlay": units.overlay_dropin("/etc/default/libvirt-guests"),
    "lift": units.lift_dropin({"uris": ["qemu+tls://h/system"]}),
}
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_text_says_what_it_is_and_how_to_live_without_it(text: str) -> None:
    lines = text.splitlines()
    comment = [line for line in lines[: next(n for n, line in enumerate(lines) if line.startswith("["))] if line]
    assert lines[0] == "# Installed by lvg-install"
    assert all(line.startswith("# ") for line in comment)
    assert any("stopvm stop --now" in line for line in comment)
    assert any("rm this file" in line and "daemon-reload" in line for line in comment)
    assert text.endswith("\n")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_the_unit_and_rates_its_sandbox(unit: str, tmp_path: Path) -> None:
    program = tmp_path / "stopvm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    make = units.graceful_shutdown if unit == units.SHUTDOWN else units.graceful_restore
    path = tmp_path / unit
    path.write_text(make(str(program)))
    command = ["systemd-analyze", "verify", "--man=no", path]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    mine = [line for line in checked.stderr.splitlines() if str(path) in line or line.startswith(unit)]
    assert (checked.returncode, mine) == (0, [])
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-200:]


def test_forced_guests_are_no_failure_of_the_unit() -> None:
    assert values(UNITS[units.SHUTDOWN], "SuccessExitStatus") == ["1"]
    assert values(UNITS[units.RESTORE], "SuccessExitStatus") == []  # there, 1 is a guest that did not come back


def test_stops_before_libvirt_guests_and_lives_without_it() -> None:
    text = UNITS[units.SHUTDOWN]
    after = " ".join(values(text, "After")).split()
    assert {units.GUESTS, units.TARGET, "remote-fs.target", "network-online.target"} <= set(after)
    assert values(text, "Wants") == [f"{units.GUESTS} {units.TARGET}"]
    assert values(text, "ExecStop") == ["/usr/local/bin/stopvm stop"]
    assert values(text, "TimeoutStopSec") == ["15"]
    assert values(text, "IgnoreOnIsolate") == ["yes"]


@pytest.mark.parametrize("text", UNITS.values(), ids=UNITS)
def test_has_no_tie_to_a_libvirt_daemon(text: str) -> None:
    ties = [value for key in ("After", "Requires", "PartOf", "BindsTo", "Wants") for value in values(text, key)]
    assert not [unit for unit in " ".join(ties).split() if unit.startswith(("libvirtd", "virtqemud"))]
    assert not values(text, "Requires")


@pytest.mark.parametrize("text", UNITS.values(), ids=UNITS)
def test_sandbox_leaves_what_stopvm_reads(text: str) -> None:
    assert not values(text, "ProcSubset")  # it hides the boot id
    assert not values(text, "ProtectProc")  # it hides QEMU, which is another user's
    assert not values(text, "PrivateTmp")  # its folder may be cleaned away before the stop, months later


def test_restore_does_not_hold_up_the_boot() -> None:
    text = UNITS[units.RESTORE]
    assert values(text, "Type") == ["exec"]
    assert values(text, "After")[0] == f"{units.SHUTDOWN} {units.GUESTS}"
    assert values(text, "ReadWritePaths") == ["-/var/lib/libvirt"]


DAEMONS_LATER = (
    "After=libvirtd.service virtqemud.service virtlxcd.service virtxend.service virtvzd.service virtvboxd.service "
    "virtlogd.service virtlockd.service"
)


@pytest.mark.parametrize(
    ("unit", "protect", "lines"),
    [
        (units.SHUTDOWN, True, ["RefuseManualStop=yes"]),
        (units.SHUTDOWN, False, []),
        (units.GUESTS, True, ["RefuseManualStop=yes", "IgnoreOnIsolate=yes"]),
        (units.GUESTS, False, ["IgnoreOnIsolate=yes"]),
        (units.TARGET, True, ["RefuseManualStop=yes", "IgnoreOnIsolate=yes", DAEMONS_LATER]),
        (units.TARGET, False, ["RefuseManualStop=yes", "IgnoreOnIsolate=yes", DAEMONS_LATER]),
    ],
)
def test_dropin(unit: str, protect: bool, lines: list[str]) -> None:
    text = units.dropin(unit, protect)
    assert [line for line in text.splitlines() if "=" in line and not line.startswith("#")] == lines


def test_overlay_is_optional_for_systemd() -> None:
    text = units.overlay_dropin("/etc/conf.d/libvirt-guests")
    assert values(text, "BindReadOnlyPaths") == ["-/etc/lvg/libvirt-guests:/etc/conf.d/libvirt-guests"]


@pytest.mark.parametrize(
    ("policy", "lifted"),
    [
        ({}, ""),
        ({"uris": ["default", "qemu:///system", "test:///default", "qemu+unix:///system"]}, ""),
        ({"uris": ["qemu://host/system"]}, "RestrictAddressFamilies=AF_INET AF_INET6"),
        ({"uris": ["qemu+ssh://root@host/system"]}, "ProtectHome=read-only"),
        ({"before_stop_host": [["/bin/true"]]}, "CapabilityBoundingSet=~"),
        ({"guests": [{"match": "*", "before_stop_host": [["/bin/true"]]}]}, "ProtectSystem=no"),
    ],
)
def test_lifts_only_what_the_policy_needs(policy: dict[str, object], lifted: str) -> None:
    text = units.lift_dropin(policy)
    assert bool(text) == bool(lifted)
    assert lifted in text
    assert ("ProtectSystem=no" in text) == ("before_stop_host" in str(policy))


NETWORK = {"PrivateNetwork": "no", "IPAddressDeny": "", "RestrictAddressFamilies": "AF_INET AF_INET6"}
STAYS = {"UMask", "LockPersonality", "KeyringMode", "SystemCallErrorNumber"}  # they are about this process alone
NO_SANDBOX = {
    *("Type", "RemainAfterExit", "ExecStart", "ExecStop", "TimeoutStopSec", "SuccessExitStatus", "NotifyAccess"),
    *("StandardOutput", "StandardError", "StateDirectory", "StateDirectoryMode", "ReadWritePaths"),
}


def service(text: str) -> dict[str, str]:
    """Return the lines of a service's section by their names, the last of each name."""
    section = re.split(r"^\[(.*)\]$", text, flags=re.MULTILINE)
    lines = section[section.index("Service") + 1].splitlines()
    return {line.partition("=")[0]: line.partition("=")[2] for line in lines if line and not line.startswith("#")}


@pytest.mark.parametrize(
    ("policy", "lifted"),
    [
        ({"uris": ["qemu+tcp://h/system"]}, NETWORK),
        ({"uris": ["default", "qemu+tls://h/system"]}, NETWORK),
        ({"uris": ["qemu+ssh://root@h/system"]}, {**NETWORK, "ProtectHome": "read-only"}),
    ],
)
@pytest.mark.parametrize("unit", UNITS)
def test_what_a_remote_uri_lifts(unit: str, policy: dict[str, object], lifted: dict[str, str]) -> None:
    assert service(units.lift_dropin(policy, unit)) == lifted
    assert lifted.keys() <= service(UNITS[unit]).keys()


def test_what_commands_of_the_host_lift() -> None:
    lifted = service(units.lift_dropin({"before_stop_host": [["/bin/true"]]}))
    assert lifted.keys() == service(UNITS[units.SHUTDOWN]).keys() - NO_SANDBOX - STAYS
    assert lifted.pop("CapabilityBoundingSet") == "~", "all of them"
    assert set(lifted.values()) == {"no", ""}


def test_commands_do_not_open_the_restore_unit() -> None:
    assert units.lift_dropin({"before_stop_host": [["/bin/true"]]}, units.RESTORE) == ""
    assert "PrivateNetwork=no" in units.lift_dropin({"uris": ["qemu+tcp://h/system"]}, units.RESTORE)


def test_a_hostile_uri_stays_in_its_comment() -> None:
    text = units.lift_dropin({"uris": ["qemu+tcp://h/\nExecStop=/bin/evil"]})
    assert not [line for line in text.splitlines() if line.startswith("ExecStop")]


@pytest.mark.parametrize("make", [units.graceful_shutdown, units.graceful_restore])
def test_a_unit_says_how_to_get_rid_of_it(make: Callable[[str], str]) -> None:
    for program, words in (("/usr/local/bin/stopvm", "rm this file"), ("/usr/bin/stopvm", "remove the package lvg")):
        (line,) = [line for line in make(program).splitlines() if line.startswith("# Undo without lvg: ")]
        assert f"; {words}; systemctl daemon-reload" in line
