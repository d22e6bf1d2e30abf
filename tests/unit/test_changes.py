"""A wish and a survey in, every change out: all of it as values, without a host."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lvg import __version__, distros, envfile, units
from lvg.changes import Changes, Net, Wish, compute
from lvg.checkpoint import Checkpoint, Entry
from lvg.detect import Host
from lvg.detect.service import Service
from lvg.errors import LvgError, UsageError
from lvg.files import Root
from lvg.filestate import ABSENT, FileState, Meta, file_state, link_state
from lvg.profiles import Profile, load
from lvg.settings import SETTINGS
from lvg.survey import Survey
from lvg.systemd import Unit

ROOT = Root(Path("/nonexistent"))
PROFILES = {name: load(name, ROOT) for name in ("graceful", "suspend")}
CONFIG = "/etc/default/libvirt-guests"
OVERLAY = "/etc/lvg/libvirt-guests"
POLICY = "/etc/lvg/policy.json"
PROGRAM = "/usr/local/bin/stopvm"
LIST = "/var/lib/libvirt/libvirt-guests"
FOLDER = "/etc/systemd/system"
WANTS = f"{FOLDER}/multi-user.target.wants"
STOCK = "#ON_BOOT=start\n#ON_SHUTDOWN=suspend\n"
OURS = {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown", "PARALLEL_SHUTDOWN": "100", "SHUTDOWN_TIMEOUT": "240"}
EDITED = "#ON_BOOT=start\nON_BOOT=ignore\n#ON_SHUTDOWN=suspend\nON_SHUTDOWN=shutdown\n"
EDITED += "PARALLEL_SHUTDOWN=100\nSHUTDOWN_TIMEOUT=240\n"
MINE = Meta(0o640, 7, 8, (("user.a", b"x"),))
NET = Unit(units.GUESTS, "loaded", "enabled", fragment="/lib/x", text="[Install]\nWantedBy=multi-user.target\n")
HAND_MADE = "[Service]\nExecStop=/root/a\nExecStop=/root/b\n"


@pytest.fixture(autouse=True)
def _sh_is_asked_by_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """These files have plain assignments only, so what sh sees is in their text."""

    def values(data: bytes, keys: Iterable[str]) -> dict[str, str | None]:
        if b"'open" in data:
            raise LvgError("line 1: it never ends", "sh -n FILE")
        found = {item.key: item.value for item in envfile.assignments(data)}
        return {key: found.get(key) for key in keys}

    monkeypatch.setattr(envfile, "sh_values", values)
    monkeypatch.setattr(sys.modules["lvg.envfile.edit"], "sh_values", values)


def mine(text: str) -> FileState:
    return FileState("file", text.encode(), meta=MINE)


def host(**found: Any) -> Host:
    usual = {
        "root": ROOT,
        "distro": distros.named("debian"),
        "supported": True,
        "advice": "",
        "init": "systemd",
        "config_file": CONFIG,
        "config_exists": True,
        "dialect": "upstream",
        "service": Service(installed=True),
    }
    return Host(**{**usual, **found})


def seen(text: str | None = STOCK, states: Mapping[str, FileState] | None = None, **found: Any) -> Survey:
    """Return the survey of a Debian host whose settings file has this text."""
    there = {} if text is None else {CONFIG: mine(text)}
    on_host = {key: found.pop(key) for key in tuple(found) if key in Host.__dataclass_fields__ and key != "units"}
    usual = {
        "host": host(**on_host),
        "config_path": CONFIG,
        "states": {**there, **(states or {})},
        "units": {**{name: Unit(name) for name in (units.SHUTDOWN, units.RESTORE, units.TARGET)}, units.GUESTS: NET},
        "record": None,
        "checkpoints": (),
        "owners": (),
        "auto_shutdown": {},
        "waiting_guests": (),
        "guests": 2,
        "vendor": {},
        "foreign_vendor": None,
        "running": False,
        "openrc": False,
        "started": frozenset(),
        "program": b"the program",
    }
    return Survey(**{**usual, **found})


def profile(name: str = "graceful", **stop: Any) -> Profile:
    settings = {key: stop.pop(key) for key in tuple(stop) if key in SETTINGS}
    found = PROFILES[name]
    return replace(found, stop={**found.stop, **stop}, settings={**found.settings, **settings})


def wished(found: Survey, wished_profile: str | Profile = "graceful", **wish: Any) -> Changes:
    chosen = profile(wished_profile) if isinstance(wished_profile, str) else wished_profile
    return compute(Wish(**wish), found, chosen)


def after(found: Survey, changes: Changes, **states: FileState | None) -> Survey:
    """Return the survey of the host when the changes are made, and `config` or `overlay` were edited since."""
    entries = tuple(Entry(each.path, each.before, each.after.digest) for each in (*changes.files, *changes.unchanged))
    number = f"{len(found.checkpoints) + 1:04d}"
    edited = {{"config": CONFIG, "overlay": OVERLAY}[name]: state for name, state in states.items()}
    return replace(
        found,
        states={**found.states, **{each.path: each.after for each in changes.files}, **edited},
        record=changes.record,
        checkpoints=(*found.checkpoints, Checkpoint(number, "done", "", (), entries)),
    )


def text(changes: Changes, path: str = CONFIG) -> str:
    return next(each.after.data.decode() for each in changes.files if each.path == path)


def whats(changes: Changes) -> list[str]:
    return [conflict.what for conflict in changes.conflicts]


def kinds(changes: Changes) -> dict[str, str]:
    return {each.path: each.action for each in changes.files}


def test_a_first_run_and_what_is_said_of_each_of_its_changes() -> None:
    changes = wished(seen())
    assert {each.path: (each.action, each.reason, each.unit) for each in changes.files} == {
        CONFIG: ("write", "the settings of libvirt-guests", ""),
        POLICY: ("write", "what stopvm does with whom", ""),
        PROGRAM: ("write", "the program that stops guests", ""),
        f"{FOLDER}/{units.SHUTDOWN}": ("write", "calls stopvm", ""),
        f"{FOLDER}/{units.RESTORE}": ("write", "calls stopvm", ""),
        f"{FOLDER}/{units.GUESTS}.d/50-lvg.conf": ("write", "protection of a unit", ""),
        f"{FOLDER}/{units.TARGET}.d/50-lvg.conf": ("write", "protection of a unit", ""),
        f"{FOLDER}/{units.SHUTDOWN}.d/50-lvg.conf": ("write", "protection of a unit", ""),
        f"{WANTS}/{units.SHUTDOWN}": ("enable", "comes up at boot", units.SHUTDOWN),
        f"{WANTS}/{units.RESTORE}": ("enable", "comes up at boot", units.RESTORE),
    }
    assert (changes.conflicts, changes.warnings, changes.acts, changes.unchanged) == ((), (), (), ())
    assert changes.profile.name == "graceful"
    assert (changes.delivery, changes.net, changes.remember, changes.changed) == (
        "edit",
        Net("shutdown", "ignore"),
        True,
        True,
    )


def test_what_is_written_and_to_whom_it_belongs() -> None:
    states = {each.path: each.after for each in wished(seen()).files}
    assert states[CONFIG] == FileState("file", EDITED.encode(), meta=MINE)
    assert states[PROGRAM] == file_state(b"the program", 0o755)
    assert states[POLICY].meta.mode == 0o600
    assert states[POLICY].data.startswith(b'{\n "about": "How stopvm stops')
    assert states[POLICY].data.endswith(b"}\n")
    for name, make in ((units.SHUTDOWN, units.graceful_shutdown), (units.RESTORE, units.graceful_restore)):
        assert states[f"{FOLDER}/{name}"] == file_state(make(PROGRAM).encode())
        assert states[f"{WANTS}/{name}"] == link_state(f"{FOLDER}/{name}")
    assert states[f"{FOLDER}/{units.GUESTS}.d/50-lvg.conf"] == file_state(units.dropin(units.GUESTS, True).encode())


def test_what_is_remembered_of_a_run() -> None:
    words = {"distro": "debian", "config_file": CONFIG, "command": ("lvg-install",)}
    changes = wished(seen(), **words)
    record = changes.record
    shown = {key: value for key, value in vars(record).items() if key not in ("version", "when", "files", "modes")}
    assert shown == {
        "profile": "graceful",
        "summary": PROFILES["graceful"].summary,
        "command": ("lvg-install",),
        "delivery": "edit",
        "config_file": CONFIG,
        "settings_path": CONFIG,
        "asked_distro": "debian",
        "asked_config": CONFIG,
        "dialect": "upstream",
        "init": "systemd",
        "net": "loaded",
        "program": PROGRAM,
        "protect": True,
        "enable": True,
        "start": False,
        "live": False,
        "settings": OURS,
        "kept": {},
        "inherited": {},
        "covered": "",
    }
    assert record.version == __version__
    assert record.when.endswith("+00:00")
    assert "." not in record.when
    assert record.files == {each.path: each.after.digest for each in changes.files}
    assert record.modes[PROGRAM].startswith("0755 ")
    assert set(record.modes) == {each.path for each in changes.files if each.after.kind == "file"} - {CONFIG}


def test_a_second_run_changes_nothing() -> None:
    found = seen()
    again = wished(after(found, wished(found)))
    assert (again.files, again.acts, again.notes, again.remember, again.changed) == ((), (), (), False, False)
    assert [(each.action, each.path, each.reason) for each in again.unchanged] == [
        ("write", CONFIG, "is as wished already")
    ]
    assert all(each.before == each.after for each in again.unchanged)


def test_a_file_that_is_as_wished_already_is_only_noted() -> None:
    changes = wished(seen(EDITED))
    assert CONFIG not in kinds(changes)
    assert [each.path for each in changes.unchanged] == [CONFIG]


def test_what_the_admin_had_set_is_said_once() -> None:
    found = seen("ON_BOOT=start\nON_SHUTDOWN=shutdown\n")
    changes = wished(found)
    assert changes.notes == ("ON_BOOT was start, becomes ignore",)
    assert wished(after(found, changes), "suspend").notes == ()


def test_where_there_is_no_file_one_is_made() -> None:
    changes = wished(seen(None))
    made = next(each.after for each in changes.files if each.path == CONFIG)
    assert made.data.startswith(b"# Installed by lvg-install\n# Settings of libvirt-guests")
    assert made.meta == file_state(b"").meta
    again = wished(after(seen(None), changes))
    assert (again.files, again.conflicts) == ((), ())


def test_a_new_profile_begins_with_the_admins_own_text() -> None:
    found = seen(STOCK + "# mine\n")
    changed = wished(after(found, wished(found)), "suspend")
    assert text(changed) == "#ON_BOOT=start\nON_BOOT=start\n#ON_SHUTDOWN=suspend\nON_SHUTDOWN=suspend\n# mine\n"
    assert changed.record.settings == {"ON_BOOT": "start", "ON_SHUTDOWN": "suspend"}
    assert changed.net == Net("suspend", "start")


def test_from_one_profile_to_another_and_back() -> None:
    there = found = seen(STOCK + "# mine\n")
    for chosen in ("graceful", "suspend", profile("suspend", SYNC_TIME="1"), "graceful"):
        changes = wished(there, chosen)
        there = after(there, changes)
        assert text(changes) == text(wished(found, chosen))


def test_an_edit_since_is_refused_and_shown() -> None:
    found = seen()
    edited = mine(EDITED + "# mine\n")
    again = wished(after(found, wished(found), config=edited))
    assert whats(again) == [f"{CONFIG} was edited by hand since lvg applied graceful"]
    (conflict,) = again.conflicts
    assert conflict.todo == (
        "Run again with --force to put the profile's settings into it, or with --keep to leave the edited ones."
    )
    assert conflict.diff.startswith(f"--- a{CONFIG}\n+++ b{CONFIG}\n")
    assert conflict.diff.endswith(" SHUTDOWN_TIMEOUT=240\n+# mine\n")


def test_what_is_shown_of_an_edit_has_every_byte_and_a_last_line_without_end() -> None:
    found = seen()
    data = EDITED.encode().replace(b"=100", b"=\xff") + b"# mine"
    again = wished(after(found, wished(found), config=FileState("file", data, meta=MINE)))
    assert again.conflicts[0].diff.splitlines()[-5:] == [
        "-PARALLEL_SHUTDOWN=100",
        "+PARALLEL_SHUTDOWN=\\xff",
        " SHUTDOWN_TIMEOUT=240",
        "+# mine",
        "\\ No newline at end of file",
    ]


@pytest.mark.parametrize("how", ["force", "keep"])
def test_an_edited_text_is_built_on_with_force_or_keep(how: str) -> None:
    found = seen()
    edited = mine(EDITED.replace("240", "500") + "# mine\n")
    there = after(found, wished(found), config=edited)
    changes = wished(there, **{how: True})
    assert changes.conflicts == ()
    kept = {"SHUTDOWN_TIMEOUT": "500"} if how == "keep" else {}
    assert changes.record.kept == kept
    assert changes.record.settings == {key: value for key, value in OURS.items() if key not in kept}
    assert changes.record.inherited == OURS
    if how == "keep":
        assert CONFIG not in kinds(changes)
        return
    assert text(changes) == EDITED + "# mine\n"
    assert "SHUTDOWN_TIMEOUT was 500, becomes 240" in changes.notes
    again = wished(after(there, changes), "suspend")
    assert text(again).startswith("#ON_BOOT=start\nON_BOOT=start\n#ON_SHUTDOWN=suspend\nON_SHUTDOWN=suspend\n")
    assert "# mine\n" in text(again)
    assert "TIMEOUT" not in text(again), "that came from the profile before, not from the admin"
    edited_again = after(there, changes)
    edited_again = after(edited_again, again, config=mine(text(again) + "# more\n"))
    (conflict,) = wished(edited_again).conflicts
    assert [line for line in conflict.diff.splitlines()[2:] if line[0] in "+-"] == ["+# more"]


def test_keep_leaves_what_the_admin_had_set_and_no_more() -> None:
    found = seen("SHUTDOWN_TIMEOUT=90\nON_BOOT=ignore\n")
    changes = wished(found, keep=True)
    assert changes.record.kept == {"SHUTDOWN_TIMEOUT": "90", "ON_BOOT": "ignore"}
    assert text(changes) == "SHUTDOWN_TIMEOUT=90\nON_BOOT=ignore\nON_SHUTDOWN=shutdown\nPARALLEL_SHUTDOWN=100\n"
    notes = wished(after(found, changes)).notes
    assert notes == ("SHUTDOWN_TIMEOUT was 90, becomes 240",)
    assert b'"shutdown_timeout": 90' in next(each.after.data for each in changes.files if each.path == POLICY)


def test_settings_that_this_libvirt_does_not_know_are_left_out_or_refused() -> None:
    service = Service(installed=True, version="4.0", keys=frozenset(SETTINGS) - {"SYNC_TIME"})
    assert "SYNC_TIME" not in text(wished(seen(service=service), profile(SYNC_TIME=SETTINGS["SYNC_TIME"].builtin)))
    with pytest.raises(UsageError) as caught:
        wished(seen(service=service), profile(SYNC_TIME="1"))
    assert caught.value.what == "SYNC_TIME is not known to the libvirt 4.0 of this host"
    assert caught.value.todo == "Leave SYNC_TIME out, or install a newer libvirt."
    with pytest.raises(UsageError, match="to the libvirt of this host"):
        wished(seen(service=replace(service, version="")), profile(SYNC_TIME="1"))
    assert "SYNC_TIME=1\n" in text(wished(seen(), profile(SYNC_TIME="1")))


def test_a_file_that_sh_cannot_read_is_named() -> None:
    with pytest.raises(LvgError) as caught:
        wished(seen("A='open\n"))
    assert (caught.value.what, caught.value.todo) == (f"{CONFIG}: line 1: it never ends", f"sh -n {CONFIG}")


def test_what_is_wrong_with_the_admins_own_settings_is_a_warning() -> None:
    assert len(wished(seen("SYNC_TIME=yes\n")).warnings) == 1
    assert wished(seen("ON_SHUTDOWN=yes\n")).warnings == (), "that is replaced"


def test_the_overlay_covers_the_file_and_leaves_it_alone() -> None:
    found = seen(STOCK + "A=1\n")
    changes = wished(found, overlay=True)
    assert changes.delivery == "overlay"
    assert CONFIG not in kinds(changes)
    assert changes.record.settings_path == OVERLAY
    assert changes.record.covered == mine(STOCK + "A=1\n").digest
    written = {each.path: (each.after, each.reason) for each in changes.files}
    assert written[OVERLAY][1] == "the settings of libvirt-guests, laid over the package's file"
    assert written[OVERLAY][0].meta == MINE
    lines = text(changes, OVERLAY).splitlines()
    assert lines[:2] == [
        "# Installed by lvg-install",
        f"# libvirt-guests reads this file in place of {CONFIG}: edits there have no effect while this file exists.",
    ]
    assert lines[4:] == [*EDITED.splitlines()[:4], "A=1", *EDITED.splitlines()[4:]]
    dropin = f"{FOLDER}/{units.GUESTS}.d/50-lvg-overlay.conf"
    assert written[dropin][0] == file_state(units.overlay_dropin(CONFIG).encode())
    again = wished(after(found, changes), overlay=True)
    assert (again.files, again.conflicts, again.remember) == ((), (), False)


def test_from_edit_to_overlay_and_back() -> None:
    found = seen()
    there = after(found, wished(found))
    covered = wished(there, overlay=True)
    assert text(covered) == STOCK
    assert covered.record.covered == mine(STOCK).digest
    there = after(there, covered)
    back = wished(there)
    assert text(back) == EDITED
    assert kinds(back)[OVERLAY] == "remove"
    assert kinds(back)[f"{FOLDER}/{units.GUESTS}.d/50-lvg-overlay.conf"] == "remove"


def test_a_change_of_the_covered_file_is_taken_over() -> None:
    found = seen()
    there = after(found, wished(found, overlay=True), config=mine(STOCK + "SYNC_TIME=1\n"))
    changes = wished(there, overlay=True)
    assert "SYNC_TIME=1" in text(changes, OVERLAY)
    assert changes.remember


@pytest.mark.parametrize("how", ["force", "keep", ""])
def test_an_overlay_that_was_edited(how: str) -> None:
    found = seen()
    first = wished(found, overlay=True)
    edited = text(first, OVERLAY).replace("240", "500")
    there = after(found, first, overlay=mine(edited))
    changes = wished(there, overlay=True, **({how: True} if how else {}))
    if how == "keep":
        assert OVERLAY not in kinds(changes)
        assert changes.record.kept == {"SHUTDOWN_TIMEOUT": "500"}
    else:
        assert text(changes, OVERLAY) == text(first, OVERLAY)
    assert whats(changes) == ([] if how else [f"{OVERLAY} was edited by hand since lvg applied graceful"])
    shown = [line for each in changes.conflicts for line in each.diff.splitlines()[2:] if line[0] in "+-"]
    assert shown == ([] if how else ["-SHUTDOWN_TIMEOUT=240", "+SHUTDOWN_TIMEOUT=500"])
    said = f"forced: {OVERLAY} was edited by hand since lvg wrote it"
    assert changes.warnings == ((said,) if how == "force" else ())


def test_an_overlay_that_was_kept_stays_so_with_keep() -> None:
    found = seen()
    first = wished(found, overlay=True)
    edited = text(first, OVERLAY).replace("240", "500") + "# mine\n"
    there = after(found, first, overlay=mine(edited))
    there = after(there, wished(there, overlay=True, keep=True))
    again = wished(there, overlay=True, keep=True)
    assert (again.files, again.conflicts, again.remember) == ((), (), False)
    edited_again = replace(there, states={**there.states, OVERLAY: mine(edited + "# more\n")})
    assert wished(edited_again, overlay=True).conflicts[0].diff.splitlines()[-2:] == [" # mine", "+# more"]
    assert text(wished(there, overlay=True), OVERLAY) == text(first, OVERLAY), "without --keep the profile counts"


def test_an_overlay_of_somebody_else_is_not_kept() -> None:
    changes = wished(seen(states={OVERLAY: mine("strange")}), overlay=True, keep=True)
    assert whats(changes) == [f"{OVERLAY} exists and is not lvg's"]


@pytest.mark.parametrize("how", ["force", "keep"])
def test_from_an_edited_file_to_the_overlay_our_settings_leave_the_file(how: str) -> None:
    found = seen()
    there = after(found, wished(found), config=mine(EDITED + "# mine\n"))
    changes = wished(there, overlay=True, **{how: True})
    assert next(each.after for each in changes.files if each.path == CONFIG) == mine(STOCK + "# mine\n")


def test_a_file_that_was_taken_away_is_not_brought_back_by_the_overlay() -> None:
    found = seen()
    changes = wished(after(found, wished(found), config=ABSENT), overlay=True, force=True)
    assert CONFIG not in kinds(changes)


def test_the_overlay_needs_a_file_systemd_and_a_plain_path() -> None:
    assert wished(seen(None), overlay=True).delivery == "edit"
    with pytest.raises(UsageError, match=r"^--overlay cannot cover '/etc/a b'$") as caught:
        wished(seen(config_path="/etc/a b"), overlay=True)
    assert caught.value.todo == "Run again without --overlay."
    with pytest.raises(UsageError, match=r"^--overlay needs systemd$") as caught:
        wished(seen(init="openrc", dialect="openrc"), overlay=True)
    assert caught.value.todo == "Run again without --overlay: the file itself is then edited."


def test_a_link_in_place_of_the_file_is_followed() -> None:
    found = seen()
    there = after(found, wished(found))
    moved = replace(
        there,
        config_path="/etc/lg",
        states={**there.states, CONFIG: link_state("/etc/lg"), "/etc/lg": mine(EDITED)},
    )
    changes = wished(moved)
    assert CONFIG not in kinds(changes)
    assert (changes.record.settings_path, changes.conflicts) == ("/etc/lg", ())


def test_another_file_counts_now() -> None:
    found = seen()
    there = after(found, wished(found))
    other = replace(there, config_path="/etc/lg", states={**there.states, "/etc/lg": mine("")})
    changes = wished(other)
    assert text(changes) == STOCK
    assert "ON_BOOT=ignore" in text(changes, "/etc/lg")


def test_what_is_no_longer_wanted_is_as_it_was() -> None:
    path = f"{FOLDER}/{units.SHUTDOWN}.d/50-lvg.conf"
    before = file_state(b"# Installed by lvg-install\nold\n")
    found = seen(states={path: before})
    there = after(found, wished(found))
    changes = wished(there, profile(protect=False))
    assert next(each.after for each in changes.files if each.path == path) == before
    assert not changes.record.protect
    assert kinds(wished(after(seen(), wished(seen())), profile(protect=False)))[path] == "remove"


def test_what_was_edited_and_forced_over_does_not_come_back() -> None:
    path = f"{FOLDER}/{units.SHUTDOWN}.d/50-lvg.conf"
    found = seen()
    there = after(found, wished(found))
    there = replace(there, states={**there.states, path: mine("edited")})
    there = after(there, wished(there, force=True))
    assert kinds(wished(there, profile(protect=False)))[path] == "remove"


def test_commands_on_the_host_lift_the_sandbox_that_would_hold_them() -> None:
    changes = wished(seen(), profile(before_stop_host=(("/bin/lock",),)))
    path = f"{FOLDER}/{units.SHUTDOWN}.d/50-lvg-sandbox.conf"
    assert "ProtectSystem=no" in text(changes, path)
    assert f"{FOLDER}/{units.RESTORE}.d/50-lvg-sandbox.conf" not in kinds(changes)
    remote = wished(seen(), profile(URIS="qemu+tls://other/system"))
    for unit in (units.SHUTDOWN, units.RESTORE):
        assert "PrivateNetwork=no" in text(remote, f"{FOLDER}/{unit}.d/50-lvg-sandbox.conf")


def test_without_enabling_there_are_no_links_and_earlier_ones_go() -> None:
    found = seen()
    assert not [path for path in kinds(wished(found, enable=False)) if ".wants/" in path]
    changes = wished(after(found, wished(found)), enable=False)
    assert {(each.action, each.reason, each.unit) for each in changes.files} == {
        ("disable", "no longer comes up at boot", units.SHUTDOWN),
        ("disable", "no longer comes up at boot", units.RESTORE),
    }
    assert not changes.record.enable


def test_libvirt_guests_is_enabled_where_it_is_not() -> None:
    off = {**seen().units, units.GUESTS: replace(NET, enabled="disabled")}
    found = seen(units=off)
    changes = wished(found)
    link = next(each for each in changes.files if each.path == f"{WANTS}/{units.GUESTS}")
    assert (link.action, link.unit, link.after) == ("enable", units.GUESTS, link_state("/lib/x"))
    there = replace(after(found, changes), units=seen().units)
    again = wished(there)
    assert again.files == (), "it was lvg that enabled it, and it stays so"
    assert f"{WANTS}/{units.GUESTS}" in again.record.files


def test_another_name_of_a_unit_is_enabled_with_it() -> None:
    net = replace(NET, enabled="disabled", text="[Install]\nAlias=guests.service\n")
    changes = wished(seen(units={**seen().units, units.GUESTS: net}))
    (link,) = [each for each in changes.files if each.path == f"{FOLDER}/guests.service"]
    assert (link.unit, link.after) == (units.GUESTS, link_state("/lib/x"))


def test_a_unit_that_is_not_loaded_is_not_enabled() -> None:
    masked = seen(units={**seen().units, units.GUESTS: replace(NET, load="masked", enabled="masked")})
    changes = wished(masked)
    assert f"{WANTS}/{units.GUESTS}" not in kinds(changes)
    assert whats(changes) == [
        "libvirt-guests.service is masked, so nothing would catch a guest that stopvm has to leave"
    ]
    assert changes.conflicts[0].todo == "Run: systemctl unmask libvirt-guests.service"
    assert changes.record.net == "masked"


VENDOR = {name: f"/usr/lib/systemd/system/{name}" for name in (units.SHUTDOWN, units.RESTORE)}


def test_a_package_ships_program_and_units() -> None:
    changes = wished(seen(vendor=VENDOR))
    assert set(kinds(changes)) == {
        CONFIG,
        POLICY,
        *(f"{FOLDER}/{name}.d/50-lvg.conf" for name in (units.GUESTS, units.TARGET, units.SHUTDOWN)),
        *(f"{WANTS}/{name}" for name in VENDOR),
    }
    links = {each.path: each.after.target for each in changes.files if each.action == "enable"}
    assert links == {f"{WANTS}/{name}": path for name, path in VENDOR.items()}
    assert changes.record.program == "/usr/bin/stopvm"


def test_what_would_shadow_a_package_goes_away() -> None:
    older = file_state(b"# Installed by lvg-install\n")
    found = seen(states={PROGRAM: older, **{f"{FOLDER}/{name}": older for name in VENDOR}})
    changes = wished(replace(after(found, wished(found)), vendor=VENDOR))
    gone = {path for path, action in kinds(changes).items() if action == "remove"}
    assert gone == {PROGRAM, *(f"{FOLDER}/{name}" for name in VENDOR)}


@pytest.mark.parametrize("path", [PROGRAM, f"{FOLDER}/{units.SHUTDOWN}", f"{FOLDER}/{units.RESTORE}"])
def test_a_foreign_file_that_shadows_a_package_is_refused(path: str) -> None:
    changes = wished(seen(vendor=VENDOR, states={path: mine("strange")}))
    assert len(changes.conflicts) == 1
    assert whats(changes)[0].startswith(f"{path} ")


@pytest.mark.parametrize(
    ("path", "state", "said"),
    [
        (PROGRAM, mine("strange"), f"{PROGRAM} exists and is not lvg's"),
        (PROGRAM, link_state("/bin/x"), f"{PROGRAM} exists and is not lvg's"),
        (PROGRAM, mine("# Installed by lvg-install\n"), ""),
        (POLICY, mine('{"about": "lvg-install writes this file"}'), ""),
        (f"{WANTS}/{units.SHUTDOWN}", link_state("/else"), ""),
        (f"{WANTS}/{units.SHUTDOWN}", mine(""), f"{WANTS}/{units.SHUTDOWN} is not lvg's; at shutdown it runs: nothing"),
        (
            f"{FOLDER}/{units.SHUTDOWN}",
            mine(HAND_MADE),
            f"{FOLDER}/{units.SHUTDOWN} is not lvg's; at shutdown it runs: /root/a; /root/b",
        ),
        (OVERLAY, mine("strange"), ""),
    ],
)
def test_a_file_of_somebody_else_is_refused(path: str, state: FileState, said: str) -> None:
    changes = wished(seen(states={path: state}))
    assert whats(changes) == ([said] if said else [])
    if said:
        keeps = "--force keeps a copy in a checkpoint and replaces it."
        todo = "Move it away, or let --force replace it; `lvg remove` then brings it back."
        assert changes.conflicts[0].todo == (keeps if "at shutdown" in said else todo)
        forced = wished(seen(states={path: state}), force=True)
        assert (forced.conflicts, forced.warnings) == ((), (f"forced: {said}",))


def test_a_stop_unit_is_shown_whatever_its_bytes_are() -> None:
    state = FileState("file", b"[Service]\nExecStop=/root/\xff\n")
    changes = wished(seen(states={f"{FOLDER}/{units.SHUTDOWN}": state}))
    assert whats(changes)[0].endswith("at shutdown it runs: /root/\ufffd")


@pytest.mark.parametrize(("state", "refused"), [(link_state("/etc/init.d/x"), 0), (mine("x"), 1)])
def test_a_link_in_a_runlevel_is_nobodys_work(state: FileState, refused: int) -> None:
    assert len(wished(seen("", {STOP_LINK: state}, **ALPINE)).conflicts) == refused


def test_a_foreign_overlay_is_refused_where_one_is_wanted() -> None:
    changes = wished(seen(states={OVERLAY: mine("strange")}), overlay=True)
    assert whats(changes) == [f"{OVERLAY} exists and is not lvg's"]
    assert wished(seen(states={OVERLAY: mine("# Installed by lvg-install\n")}), overlay=True).conflicts == ()


def test_a_file_of_ours_that_was_edited_is_refused() -> None:
    found = seen()
    there = after(found, wished(found))
    edited = replace(there, states={**there.states, POLICY: mine("{}")})
    changes = wished(edited)
    assert whats(changes) == [f"{POLICY} was edited by hand since lvg wrote it"]
    assert changes.conflicts[0].todo == "--force replaces it and keeps a copy in a checkpoint."
    assert kinds(wished(edited, force=True)) == {POLICY: "write"}
    gone = replace(there, states={**there.states, POLICY: ABSENT})
    assert wished(gone).conflicts == ()


def test_a_daemon_that_stops_guests_itself_is_refused() -> None:
    changes = wished(seen(auto_shutdown={"auto_shutdown_try_save": "all", "auto_shutdown_poweroff": "all"}))
    assert whats(changes) == [
        "/etc/libvirt/qemu.conf lets the libvirt daemon stop guests itself: "
        'auto_shutdown_try_save = "all", auto_shutdown_poweroff = "all"'
    ]
    assert changes.conflicts[0].todo == (
        'Set these to "none" there, or remove them; two that stop the same guests fight.'
    )


@pytest.mark.parametrize(
    ("name", "stop", "refused"),
    [("graceful", {}, True), ("graceful", {"boot": "ignore"}, False), ("suspend", {}, True)],
)
def test_another_owner_is_refused_where_both_start_guests(name: str, stop: dict[str, str], refused: bool) -> None:
    changes = wished(seen(owners=("pacemaker", "vdsmd")), profile(name, **stop))
    what = f"pacemaker, vdsmd also starts guests on this host, and with {name} they are started at boot"
    assert whats(changes) == ([what] if refused else [])
    if refused:
        todo = "Two starts of one guest corrupt its disk. Use --set boot=ignore --set ON_BOOT=ignore."
        assert changes.conflicts[0].todo == todo


def test_a_stop_unit_of_another_package_is_refused() -> None:
    changes = wished(seen(foreign_vendor=("/usr/lib/x", "[Service]\nExecStop=/a\n")))
    assert whats(changes) == ["/usr/lib/x is not lvg's; at shutdown it runs: /a"]
    assert changes.conflicts[0].todo == "Remove its package; --force lays lvg's unit over it in /etc."


def live(net: str, ours: str, **found: Any) -> Survey:
    states = {units.GUESTS: net, units.SHUTDOWN: ours}
    usual = seen().units
    return seen(running=True, units={**usual, **{n: replace(usual[n], active=s) for n, s in states.items()}}, **found)


@pytest.mark.parametrize(
    ("net", "ours", "started"),
    [
        ("inactive", "failed", [units.GUESTS, units.SHUTDOWN]),
        ("active", "inactive", [units.SHUTDOWN]),
        ("activating", "reloading", []),
        ("inactive", "active", [units.GUESTS]),
    ],
)
def test_what_must_be_active_is_started(net: str, ours: str, started: list[str]) -> None:
    changes = wished(live(net, ours))
    assert changes.acts == (
        ("reload", "", "systemd reads the changed units"),
        *(("start", name, "only a started unit acts at shutdown") for name in started),
    )
    assert [act.action for act in wished(live(net, ours), start=False).acts] == ["reload"]
    assert wished(replace(live(net, ours), running=False)).acts == ()


def test_a_unit_that_is_not_there_is_not_started() -> None:
    found = live("inactive", "active")
    absent = {**found.units, units.GUESTS: Unit(units.GUESTS)}
    assert [act.action for act in wished(replace(found, units=absent)).acts] == ["reload"]


def test_without_a_change_of_units_there_is_no_reload() -> None:
    found = live("active", "active")
    changes = wished(after(found, wished(found)), profile(timeout=7))
    assert kinds(changes) == {POLICY: "write"}
    assert changes.acts == ()


def test_an_old_list_goes_before_libvirt_guests_is_started() -> None:
    old = {LIST: mine("default 1-2-3\n")}
    changes = wished(live("inactive", "active", states=old, waiting_guests=("web", "db")))
    moved = next(each for each in changes.files if each.path == LIST)
    assert (moved.action, moved.after) == ("remove", ABSENT)
    assert moved.reason == "an old list: starting libvirt-guests would start these guests"
    said = "an old list of libvirt-guests goes into the checkpoint, so that starting it starts nothing: "
    assert changes.notes == (said + "web, db",)
    assert LIST not in changes.record.files
    assert wished(live("inactive", "active", states=old)).notes == (said + "no guest",)
    assert wished(live("inactive", "active")).notes == ()
    running = wished(live("active", "inactive", states=old))
    assert LIST not in kinds(running)
    assert running.notes == ()
    assert running.warnings == (f"{LIST} is an old list that keeps libvirt-guests from stopping guests: move it away",)
    assert wished(live("active", "active")).warnings == ()


def test_a_shutdown_that_systemd_would_cut_off_is_a_warning() -> None:
    slow = profile(PARALLEL_SHUTDOWN="1")
    changes = wished(seen(guests=8), slow)
    assert changes.warnings == (
        "in the worst case a shutdown takes 3125 s, and systemd cuts it off after 1800 s: "
        "set PARALLEL_SHUTDOWN above 1, or a smaller SHUTDOWN_TIMEOUT or budget",
    )
    slower = profile(PARALLEL_SHUTDOWN="1", SHUTDOWN_TIMEOUT="400")
    assert wished(seen(guests=1), slower).warnings == ()
    assert wished(seen(guests=0), slower).warnings == ()
    assert wished(seen(), profile(SHUTDOWN_TIMEOUT="535")).warnings == ()
    assert len(wished(seen(), profile(SHUTDOWN_TIMEOUT="536")).warnings) == 1
    assert len(wished(seen("SHUTDOWN_TIMEOUT=900\n"), keep=True).warnings) == 1


def test_a_host_without_libvirt_guests_is_told() -> None:
    changes = wished(seen(service=Service()))
    assert changes.warnings == ("libvirt-guests is not installed here yet: nothing acts on these settings until it is",)
    assert wished(seen(disagreements=("two files",))).warnings == ("two files",)


def test_another_init_gets_the_settings_alone() -> None:
    changes = wished(seen(init="sysvinit"))
    assert kinds(changes) == {CONFIG: "write"}
    assert changes.warnings == (
        "stopvm needs systemd or OpenRC, and this host runs sysvinit: only libvirt-guests was set up",
    )
    assert wished(seen(init="sysvinit", states={PROGRAM: mine("strange")})).conflicts == ()
    older = file_state(b"# Installed by lvg-install\n")
    found = seen(states={PROGRAM: older})
    moved = wished(replace(after(found, wished(found)), host=host(init="sysvinit")))
    assert next(each.after for each in moved.files if each.path == PROGRAM) == older
    record = changes.record
    assert (record.net, record.program, record.protect, record.init) == ("", "", False, "sysvinit")


ALPINE = {"init": "openrc", "dialect": "openrc", "distro": distros.named("alpine")}
SCRIPT, GUESTS_LINK, STOP_LINK = (
    "/etc/init.d/graceful-shutdown",
    "/etc/runlevels/default/libvirt-guests",
    "/etc/runlevels/default/graceful-shutdown",
)


def test_openrc_gets_a_script_and_its_own_words() -> None:
    changes = wished(seen("", **ALPINE))
    assert {each.path: (each.action, each.reason, each.unit) for each in changes.files} == {
        CONFIG: ("write", "the settings of libvirt-guests", ""),
        POLICY: ("write", "what stopvm does with whom", ""),
        PROGRAM: ("write", "the program that stops guests", ""),
        SCRIPT: ("write", "calls stopvm", ""),
        GUESTS_LINK: ("enable", "comes up at boot", "libvirt-guests"),
        STOP_LINK: ("enable", "comes up at boot", "graceful-shutdown"),
    }
    states = {each.path: each.after for each in changes.files}
    assert states[CONFIG].data == b"LIBVIRT_START=no\nLIBVIRT_SHUTDOWN=shutdown\nLIBVIRT_MAXWAIT=240\n"
    assert (states[GUESTS_LINK].target, states[STOP_LINK].target) == ("/etc/init.d/libvirt-guests", SCRIPT)
    assert states[SCRIPT].meta.mode == 0o755
    assert b"need libvirt-guests" in states[SCRIPT].data
    assert b"program=/usr/local/bin/stopvm\n" in states[SCRIPT].data
    assert b"KILL 1320 " in states[SCRIPT].data
    assert len(changes.notes) == 2
    assert (changes.net, changes.record.program, changes.record.net) == (Net("shutdown", "ignore"), PROGRAM, "")
    again = wished(after(seen("", **ALPINE), changes))
    assert (again.files, again.conflicts) == ((), ())
    assert {GUESTS_LINK, STOP_LINK} <= set(again.record.files)


def test_openrc_with_a_package() -> None:
    changes = wished(seen("", **ALPINE, vendor=VENDOR))
    assert PROGRAM not in kinds(changes)
    assert "program=/usr/bin/stopvm\n" in text(changes, SCRIPT)


def test_openrc_has_other_keys_than_the_script_of_systemd_hosts() -> None:
    service = Service(installed=True, keys=frozenset({"ON_BOOT"}))
    assert text(wished(seen("", **ALPINE, service=service))) == text(wished(seen("", **ALPINE)))


def test_a_wrong_setting_of_openrcs_is_a_warning() -> None:
    assert len(wished(seen("LIBVIRT_NET_SHUTDOWN=maybe\n", **ALPINE)).warnings) == 1


def test_openrcs_own_link_is_not_ours() -> None:
    changes = wished(seen("", {GUESTS_LINK: link_state("/etc/init.d/libvirt-guests")}, **ALPINE))
    assert GUESTS_LINK not in changes.record.files
    assert GUESTS_LINK not in kinds(wished(seen("", **ALPINE, service=Service())))


@pytest.mark.parametrize(
    ("name", "word", "shutdown"),
    [("graceful", "shutdown", "shutdown"), ("suspend", "managedsave", "suspend")],
)
def test_what_openrcs_service_will_do(name: str, word: str, shutdown: str) -> None:
    changes = wished(seen("", **ALPINE), name)
    assert f"LIBVIRT_SHUTDOWN={word}" in text(changes)
    assert changes.net.shutdown == shutdown


def test_what_a_kept_openrc_file_makes_its_service_do() -> None:
    found = seen("LIBVIRT_SHUTDOWN=destroy\nLIBVIRT_START=yes\n", **ALPINE)
    assert wished(found, keep=True).net == Net("destroy", "start")


@pytest.mark.parametrize(
    ("started", "wish", "units_started"),
    [
        ((), {}, ["libvirt-guests", "graceful-shutdown"]),
        (("libvirt-guests",), {}, ["graceful-shutdown"]),
        (("libvirt-guests", "graceful-shutdown"), {}, []),
        ((), {"start": False}, []),
    ],
)
def test_openrc_services_are_started(started: tuple[str, ...], wish: dict[str, bool], units_started: list[str]) -> None:
    changes = wished(seen("", **ALPINE, openrc=True, started=frozenset(started)), **wish)
    assert changes.acts == tuple(("start", name, "only a started service acts at shutdown") for name in units_started)
    assert wished(seen("", **ALPINE, started=frozenset(started)), **wish).acts == ()


@pytest.mark.parametrize("path", [LIST, f"{LIST}.state"])
def test_openrcs_service_is_not_started_on_an_old_list(path: str) -> None:
    found = seen("", {path: mine("web\n")}, **ALPINE, openrc=True)
    changes = wished(found, "suspend")
    assert [act.unit for act in changes.acts] == ["graceful-shutdown"]
    said = "libvirt-guests is not started now, since that would start guests on an old list"
    assert changes.warnings == (f"{said}: rc-service libvirt-guests start",)
    assert [act.unit for act in wished(found).acts] == ["libvirt-guests", "graceful-shutdown"]
    assert wished(replace(found, started=frozenset({"libvirt-guests"})), "suspend").warnings == ()
    empty = replace(found, states={**found.states, path: mine("")})
    assert wished(empty, "suspend").warnings == ()


def test_openrcs_service_is_not_started_where_it_is_not_installed() -> None:
    changes = wished(seen("", **ALPINE, openrc=True, service=Service()))
    assert [act.unit for act in changes.acts] == ["graceful-shutdown"]


@pytest.mark.parametrize(
    ("family", "kept", "net"),
    [
        ("debian", "", Net("shutdown", "ignore")),
        ("fedora", "", Net("suspend", "start")),
        ("debian", "ON_BOOT=start\nON_SHUTDOWN=suspend\n", Net("suspend", "start")),
        ("fedora", "ON_BOOT=ignore\nON_SHUTDOWN=shutdown\n", Net("shutdown", "ignore")),
    ],
)
def test_what_libvirt_guests_itself_will_do(family: str, kept: str, net: Net) -> None:
    nothing_set = replace(PROFILES["graceful"], settings={})
    assert wished(seen(kept, distro=distros.named(family)), nothing_set).net == net
