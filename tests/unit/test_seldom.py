"""What a command meets seldom: other users, odd trees, closed pipes, answers nobody expects."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

import doctorhost
from lvg import apply, commands, console, neighbours, outcomes, trend
from lvg.changes import Conflict
from lvg.commands import plan
from lvg.detect import detect
from lvg.doctor import names as doctor_names
from lvg.doctor import qemus
from lvg.draw import boot, terminal
from lvg.draw import shutdowns as drawn
from lvg.errors import LvgError, NeedsRootError, RefusedError, UsageError
from lvg.files import Root
from lvg.guests import definition, parse
from lvg.layout import is_ours
from lvg.rehearsal import watching
from lvg.rehearsal.work import STARTING, Work, begin
from lvg.settings import SETTINGS
from lvg.stopvm.history import Record
from lvg.stopvm.policy import GuestPolicy
from lvg.systemd import show
from lvg.timeline import Boot, Start

APPLY = ("--profile", "graceful")


# -- commands -------------------------------------------------------------------------------------------------------


def test_no_profile_in_json_prints_no_table(debian: Any) -> None:
    done = debian.install("--json")
    assert (done.code, done.out) == (2, "")
    assert "no profile was named" in done.err


def test_a_path_that_cannot_stand_in_a_unit_is_refused(debian: Any) -> None:
    done = debian.install(*APPLY, "--config-file", "/etc/x\nExecStart=/bin/sh")
    assert (done.code, "is no path to write into units" in done.err) == (2, True)


def test_an_overlay_covers_no_path_that_a_unit_would_read_otherwise(debian: Any) -> None:
    debian.put("/etc/default/lib virt", "ON_BOOT=start\n")
    done = debian.install(*APPLY, "--overlay", "--config-file", "/etc/default/lib virt")
    assert (done.code, "--overlay cannot cover '/etc/default/lib virt'" in done.err) == (2, True)


def test_a_tree_whose_python_has_no_libvirt_is_warned_about(debian: Any) -> None:
    (debian.root / "usr/lib/python3/dist-packages/libvirt.py").unlink()
    (debian.root / "usr/local/lib/other").mkdir(parents=True)
    done = debian.install(*APPLY)
    assert (done.code, "stopvm needs Python's libvirt below this root" in done.err) == (0, True)
    (debian.root / "usr/local/lib/python3.11/dist-packages").mkdir(parents=True)
    (debian.root / "usr/local/lib/python3.11/dist-packages/libvirt.py").touch()
    assert "libvirt below this root" not in debian.install(*APPLY).err


def test_what_was_told_at_the_apply_is_remembered_by_status(fake_host: Callable[..., Any]) -> None:
    host = fake_host("ID=mydistro\n")
    host.put("/etc/default/libvirt-guests", "ON_BOOT=start\n")
    assert host.install(*APPLY, "--distro", "debian").code == 0
    assert host.run("lvg", "status").code == 0


def test_quiet_drift_is_one_line(debian: Any) -> None:
    debian.install(*APPLY)
    debian.config.write_text("ON_BOOT=start\n")
    done = debian.run("lvg", "status", "--quiet")
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)


def test_a_quiet_undo_says_nothing(debian: Any) -> None:
    debian.install(*APPLY)
    done = debian.run("lvg", "remove", "--quiet")
    assert (done.code, done.out) == (0, "")


def test_status_of_a_config_that_sh_cannot_read_and_of_files_that_are_gone(debian: Any) -> None:
    debian.install(*APPLY)
    debian.config.write_text("ON_BOOT='start\n")
    (debian.root / "etc/lvg/policy.json").unlink()
    done = debian.run("lvg", "status", "--json")
    rows = {row["what"]: row for row in json.loads(done.out)["rows"]}
    assert (done.code, rows["/etc/lvg/policy.json"]["found"]) == (3, "missing")
    assert rows["/etc/default/libvirt-guests"]["expected"] == "readable by sh"
    assert "sh cannot read the file" in rows["/etc/default/libvirt-guests"]["found"]


def test_an_openrc_host_without_libvirt_guests_gets_no_link_to_it(fake_host: Callable[..., Any]) -> None:
    host = fake_host("ID=alpine\nVERSION_ID=3.22.1\n", "/etc/conf.d/libvirt-guests", None)
    for path in ("usr/lib/systemd/system/libvirt-guests.service", "usr/lib/libvirt/libvirt-guests.sh"):
        (host.root / path).unlink()
    host.put("/sbin/openrc", "", 0o755)
    (host.root / "usr/lib/systemd/systemd").unlink()
    assert host.install(*APPLY).code == 0
    assert not os.path.lexists(host.root / "etc/runlevels/default/libvirt-guests")
    assert os.path.lexists(host.root / "etc/runlevels/default/graceful-shutdown")


def test_a_file_where_a_link_should_enable_our_unit_is_somebody_elses(debian: Any) -> None:
    link = debian.put("/etc/systemd/system/multi-user.target.wants/graceful-shutdown.service", "[Unit]\n")
    done = debian.install(*APPLY)
    assert (done.code, str(link.relative_to(debian.root)) in done.err) == (4, True)


def test_the_room_that_changes_the_host_refuses_conflicts_itself(debian: Any) -> None:
    refused = mock.Mock(conflicts=(Conflict("it is masked", "Unmask it."),))
    before = debian.tree()
    with pytest.raises(RefusedError, match="it is masked"):
        apply.execute(Root(debian.root), refused)
    assert debian.tree() == before


def test_nothing_to_undo_or_nothing_to_see(debian: Any) -> None:
    debian.install(*APPLY)
    with mock.patch.object(os, "access", return_value=False):
        done = debian.run("lvg", "remove")
    assert (done.code, "cannot be read by this user" in done.err) == (1, True)


def test_on_the_running_host_only_root_changes_things() -> None:
    with mock.patch.object(os, "geteuid", return_value=1000), pytest.raises(NeedsRootError):
        console.need_root(Root())
    console.need_root(Root(Path("/somewhere")))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BrokenPipeError(), 1, ""),
        (KeyboardInterrupt(), 1, "lvg: ended by Ctrl-C\n"),
        (LvgError("no", "Do."), 1, "lvg: no\n  Do.\n"),
        (ZeroDivisionError("oh"), 1, "lvg: unexpected ZeroDivisionError: oh\n"),
    ],
)
def test_no_error_is_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def body() -> int:
        raise error

    monkeypatch.setattr("sys.stdout", __import__("sys").stdout)  # a broken pipe replaces it
    assert commands.speaking("lvg", False, body) == code
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert "Traceback" not in err
    assert bool(err) == bool(said)


def test_verbose_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise LvgError("no", "")

    assert commands.speaking("lvg", True, body) == 1
    err = capsys.readouterr().err
    assert err.startswith("lvg: no\nTraceback")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"net": {}}', '{"net": null}', "[" * 100_000])
def test_a_policy_that_says_nothing_of_the_boot_brings_nothing_back(debian: Any, text: str) -> None:
    debian.put("/etc/lvg/policy.json", text, 0o600)
    assert plan._on_boot(Root(debian.root)) == "ignore"


# -- looking at the host --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [0, 1000])
def test_a_qemu_conf_for_roots_eyes_stops_no_dry_run_of_others(debian: Any, user: int) -> None:
    refused = LvgError("/etc/libvirt/qemu.conf cannot be read: Permission denied", "Run it as root.")
    with (
        mock.patch.object(neighbours, "auto_shutdown", side_effect=refused),
        mock.patch("lvg.survey.os.geteuid", return_value=user),
    ):
        done = debian.install(*APPLY, "--dry-run")
    assert done.code == (1 if user == 0 else 0)


def test_only_presets_count_in_a_folder_of_presets(debian: Any) -> None:
    debian.put("/usr/lib/systemd/system-preset/10-x.preset.bak", "disable *\n")
    assert show._from_files(Root(debian.root), "libvirt-guests.service").preset == "enabled"
    debian.put("/usr/lib/systemd/system-preset/10-x.preset", "disable *\n")
    assert show._from_files(Root(debian.root), "libvirt-guests.service").preset == "disabled"


def test_a_line_that_means_nothing_in_a_unit_is_passed_over(debian: Any) -> None:
    path = "/usr/lib/systemd/system/libvirt-guests.service"
    unit = debian.root / path.lstrip("/")
    unit.write_text("nonsense\n" + unit.read_text().replace("[Service]", "[Service]\nwhat is this"))
    host = detect(Root(debian.root))
    assert (host.service.installed, host.config_file) == (True, "/etc/default/libvirt-guests")


@pytest.mark.parametrize("reader", [lambda host: host.run("lvg", "profiles", "x"), lambda host: host.install(*APPLY)])
def test_a_profile_that_cannot_be_read_is_no_traceback(debian: Any, reader: Callable[[Any], Any]) -> None:
    debian.put("/etc/lvg/profiles/x.toml", "")
    with mock.patch("lvg.profiles.reading.os.open", side_effect=OSError(errno.EIO, "Input/output error")):
        done = reader(debian)
    assert (done.code, "cannot be read: Input/output error." in done.err) == (1, True)


def test_our_files_are_known_by_their_first_lines() -> None:
    assert is_ours(b'{"about": "lvg-install writes this file", "schema": 1}')
    assert is_ours(b"#!/bin/sh\n# Installed by lvg-install\n")
    assert not is_ours(b'{"about": "I wrote this"}')
    assert not is_ours(b"#!/bin/sh\n\n\n\n# Installed by lvg-install\n")


@pytest.mark.parametrize(("value", "refused"), [("1", True), ("0", False)])
def test_what_openrc_cannot_have_is_refused_only_if_it_is_asked_for(
    fake_host: Callable[..., Any], value: str, refused: bool
) -> None:
    host = fake_host("ID=alpine\nVERSION_ID=3.22.1\n", "/etc/conf.d/libvirt-guests", None)
    host.put("/sbin/openrc", "", 0o755)
    host.put("/etc/init.d/libvirt-guests", "#!/sbin/openrc-run\nstop() { :; }\n", 0o755)
    (host.root / "usr/lib/systemd/systemd").unlink()
    assert "SYNC_TIME" in SETTINGS
    done = host.install(*APPLY, "--set", f"SYNC_TIME={value}")
    assert ("SYNC_TIME has no counterpart" in done.err + done.out) == refused


def test_an_unknown_key_of_the_stop_policy_has_a_neighbour(debian: Any) -> None:
    done = debian.install(*APPLY, "--set", "budgte=5")
    assert (done.code, 'Did you mean "budget"?' in done.err) == (2, True)
    far = debian.install(*APPLY, "--set", "qqqqq=5")
    assert (far.code, "Did you mean" in far.err) == (UsageError.code, False)


# -- guests ---------------------------------------------------------------------------------------------------------


def test_a_definition_with_a_memory_that_is_no_number_has_none() -> None:
    assert definition.read("<domain><memory>lots</memory></domain>").memory == 0.0
    assert definition.read("<domain><memory>2048</memory></domain>").memory == 2.0


def test_what_the_probe_says_in_other_shapes_is_no_guest() -> None:
    assert list(parse._words([b"[1, 2]", b'"x"', b'{"uri": "u"}', b"{", b"[" * 100_000])) == [{"uri": "u"}]


def test_a_process_that_is_no_guest_is_none(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cmdline").write_bytes(b"/usr/bin/qemu-system-x86_64\0-machine\0none\0")  # libvirt asks what it can
    (tmp_path / "7/status").write_text("Name:\tqemu-system-x86\n")
    assert qemus.read([7, 8], tmp_path) == ()


def test_a_name_that_all_guests_need_has_to_be_one_of_a_guest() -> None:
    found = doctorhost.with_policy(doctorhost.facts(doctorhost.guest("vm")), base=GuestPolicy(needs=("nas",)))
    assert ("nas", "needs") in list(doctor_names._named(found, {"vm"}))


# -- rehearsals -----------------------------------------------------------------------------------------------------


def rehearsed(work: Work) -> list[str]:
    return [line for line in watching._lines(begin(work)) if line is not None]


def test_a_stopvm_that_cannot_be_run_is_said_and_those_that_may_still_go_down_are_waited_for() -> None:
    looks = [frozenset({"vm"}), None, frozenset[str]()]
    lines = rehearsed(Work("/no/such/stopvm", ["vm"], lambda: looks.pop(0) if looks else frozenset(), bool, 5.0))
    gone = "rehearsal: /no/such/stopvm cannot be run: No such file or directory"
    assert [lines[0], *lines[2:]] == [gone, STARTING, gone]
    assert "for vm, which may still go down" in lines[1]


def test_no_guest_is_waited_for_without_end() -> None:
    lines = rehearsed(Work("/no/such/stopvm", ["vm"], lambda: frozenset({"vm"}), lambda: True, 0.02))
    assert "waiting up to 0 s for vm" in lines[1]
    assert lines[-1].startswith("rehearsal: the host goes down, so nothing is started now")


def test_a_fault_of_ours_in_a_rehearsal_is_told_and_ends_it() -> None:
    def running() -> frozenset[str]:
        raise ZeroDivisionError

    assert (
        rehearsed(Work("/no/such/stopvm", ["vm"], running, bool, 5.0))[-1] == "rehearsal: failed: ZeroDivisionError()"
    )


def test_a_last_line_without_its_end_is_shown() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo")
    os.close(writing)
    worker = SimpleNamespace(output=reading, is_done=lambda: True)
    assert [line for line in watching._lines(worker) if line] == ["one", "two"]  # type: ignore[arg-type]


# -- words and pictures ---------------------------------------------------------------------------------------------


def test_long_times_are_hours() -> None:
    assert [drawn._seconds(value) for value in (0, 12.34, 100, 7200)] == ["", "12.3 s", "100 s", "2 h"]
    assert [drawn._duration(value) for value in (59, 90, 7260)] == ["59 s", "1 min 30 s", "2 h 1 min"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (Record(kind="now", boot_id="here"), "it is still at work"),
        (Record(kind="now", boot_id="before"), "it was cut short, and never came to an end"),
        (Record(kind="now", ended="2026-01-01T00:00:00Z"), "its exit code is not known"),
        (Record(kind="now", ended="2026-01-01T00:00:00Z", exit_code=77), "exit code 77: it failed"),
    ],
)
def test_how_a_stop_ended_in_words(record: Record, words: str) -> None:
    assert outcomes.how_it_ended(record, "here") == words


def test_a_guest_that_is_not_asked_to_shut_down_needs_no_warning() -> None:
    assert trend.warnings((), doctorhost.facts().policy) == ()


def test_a_boot_at_which_stopvm_starts_nobody_is_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    starts = (Start("a", "u", "libvirt"), Start("b", "u", "libvirt-guests"), Start("c", "u", "nobody", why="transient"))
    terminal.show(list(boot.pictures(Boot(starts, 0.0, 0.0))))
    out = capsys.readouterr().out
    for line in ("started by libvirt (autostart): a", "started by libvirt-guests: b", "stays off (transient): c"):
        assert line in out


def test_a_picture_that_cannot_be_finished_leaves_nothing_behind(tmp_path: Path) -> None:
    old = tmp_path / "plan.svg"
    old.write_text("old")
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch("lvg.draw.terminal.os.fsync", side_effect=full), pytest.raises(LvgError, match="No space left"):
        terminal.write(str(old), "new")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.svg"]
    assert old.read_text() == "old"
