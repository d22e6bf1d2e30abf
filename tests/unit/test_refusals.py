"""What is refused without --force, with what the user is told; and what --force then does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lvg import units
from lvg.changes import Changes, Wish, compute
from lvg.files import Root
from lvg.profiles import load
from lvg.survey import Survey, survey
from lvg.systemd import Unit

RECIPE = """\
[Unit]
Description=published recipe
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/root/stopvm.sh --all
[Install]
WantedBy=multi-user.target
"""


def _refused(host: Any, *words: str) -> str:
    """Return what was said; the refusal changed nothing."""
    before = host.tree()
    done = host.install("--profile", "graceful", *words)
    assert (done.code, host.tree()) == (4, before), done.err
    return str(done.err)


def test_a_hand_made_stop_unit_is_shown_and_kept_until_forced(debian: Any) -> None:
    path = debian.put("/etc/systemd/system/graceful-shutdown.service", RECIPE)
    said = _refused(debian)
    assert "/root/stopvm.sh --all" in said
    assert debian.install("--profile", "graceful", "--force").code == 0
    assert "stopvm stop" in path.read_text()
    debian.run("lvg", "remove")
    assert path.read_text() == RECIPE


@pytest.mark.parametrize("path", ["/usr/local/bin/stopvm", "/etc/lvg/policy.json"])
def test_a_foreign_file_at_our_path_is_kept_until_forced(debian: Any, path: str) -> None:
    mine = debian.put(path, "something else\n")
    assert path in _refused(debian)
    assert debian.install("--profile", "graceful", "--force").code == 0
    debian.run("lvg", "remove")
    assert mine.read_text() == "something else\n"


def test_a_masked_net_is_refused(debian: Any) -> None:
    (debian.root / "etc/systemd/system/libvirt-guests.service").symlink_to("/dev/null")
    assert "systemctl unmask libvirt-guests.service" in _refused(debian)
    done = debian.install("--profile", "graceful", "--force")
    assert done.code == 0, done.err
    assert (debian.root / "etc/systemd/system/libvirt-guests.service").is_symlink()


@pytest.mark.parametrize("key", ["auto_shutdown_try_save", "auto_shutdown_try_shutdown", "auto_shutdown_poweroff"])
def test_a_daemon_that_stops_guests_itself_is_refused(debian: Any, key: str) -> None:
    debian.put("/etc/libvirt/qemu.conf", f'#{key} = "all"\n{key} = "all"\n', 0o600)
    assert f'{key} = "all"' in _refused(debian)
    debian.put("/etc/libvirt/qemu.conf", f'{key} = "none"\n', 0o600)
    assert debian.install("--profile", "graceful").code == 0


@pytest.mark.parametrize("owner", ["pacemaker", "vdsmd", "nova-compute", "ganeti", "kubelet"])
def test_another_owner_of_the_guests_is_refused_where_both_start_them(debian: Any, owner: str) -> None:
    debian.put(f"/usr/lib/systemd/system/{owner}.service", "[Install]\nWantedBy=multi-user.target\n")
    wants = debian.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / f"{owner}.service").symlink_to(f"/usr/lib/systemd/system/{owner}.service")
    assert owner in _refused(debian)
    done = debian.install("--profile", "graceful", "--set", "boot=ignore")
    assert done.code == 0, done.err


def test_a_file_of_ours_that_was_edited_is_refused(debian: Any) -> None:
    debian.install("--profile", "graceful")
    unit = debian.root / "etc/systemd/system/graceful-shutdown.service"
    unit.write_text(unit.read_text() + "# mine\n")
    assert "edited by hand" in _refused(debian)
    assert debian.run("lvg", "status").code == 3


def _survey(host: Any, **found: Any) -> Survey:
    return replace(survey(Root(host.root)), **found)


def _compute(found: Survey, wish: Wish = Wish(), profile: str = "graceful") -> Changes:  # noqa: B008 - frozen
    return compute(wish, found, load(profile, found.host.root))


def _live(host: Any, net: str, ours: str) -> Survey:
    """Return the survey of a host whose systemd runs, with these unit states."""
    found = survey(Root(host.root))
    states = {units.GUESTS: net, units.SHUTDOWN: ours, units.RESTORE: "inactive", units.TARGET: net}
    live = {name: replace(found.units[name], active=state) for name, state in states.items()}
    return replace(found, running=True, units=live)


@pytest.mark.parametrize(
    ("net", "ours", "starts"),
    [
        ("inactive", "inactive", [units.GUESTS, units.SHUTDOWN]),
        ("active", "inactive", [units.SHUTDOWN]),
        ("failed", "active", [units.GUESTS]),
        ("active", "active", []),
    ],
)
def test_only_what_does_not_run_is_started_and_nothing_else_is_done(
    debian: Any, net: str, ours: str, starts: list[str]
) -> None:
    changes = _compute(_live(debian, net, ours))
    assert [act.unit for act in changes.acts if act.action == "start"] == starts
    assert {act.action for act in changes.acts} <= {"reload", "start"}
    assert [act.unit for act in _compute(_live(debian, net, ours), Wish(start=False)).acts] == [""], "a reload alone"


def test_an_old_list_goes_before_the_net_is_started(debian: Any) -> None:
    debian.put("/var/lib/libvirt/libvirt-guests", "default 7f3c2a1e-0000-4000-8000-000000000001\n")
    starting = _compute(_live(debian, "inactive", "inactive"))
    moved = [change for change in starting.files if change.path == "/var/lib/libvirt/libvirt-guests"]
    assert [change.action for change in moved] == ["remove"]
    assert any("7f3c2a1e" in note for note in starting.notes)
    running = _compute(_live(debian, "active", "active"))
    assert not [change for change in running.files if change.path == "/var/lib/libvirt/libvirt-guests"]
    assert any("old list" in warning for warning in running.warnings)


def test_below_a_root_nothing_is_started_or_reloaded(debian: Any) -> None:
    assert _compute(_survey(debian)).acts == ()


def test_no_enable_makes_no_link(debian: Any) -> None:
    assert debian.install("--profile", "graceful", "--no-enable").code == 0
    assert not (debian.root / "etc/systemd/system/multi-user.target.wants").exists()
    assert debian.run("lvg", "status").code == 0


def test_protect_off_leaves_only_what_isolate_needs(debian: Any) -> None:
    debian.install("--profile", "graceful", "--set", "protect=false")
    dropins = {path.parent.name: path.read_text() for path in debian.root.glob("etc/systemd/system/*.d/50-lvg.conf")}
    assert set(dropins) == {"libvirt-guests.service.d", "virt-guest-shutdown.target.d"}
    assert "RefuseManualStop" not in dropins["libvirt-guests.service.d"]
    assert "RefuseManualStop" in dropins["virt-guest-shutdown.target.d"], "its stop could wait for itself"


def test_a_unit_that_the_distro_enabled_is_not_ours_to_disable(debian: Any) -> None:
    wants = debian.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    link = wants / "libvirt-guests.service"
    link.symlink_to("/lib/systemd/system/libvirt-guests.service")
    debian.install("--profile", "graceful")
    debian.run("lvg", "remove")
    assert link.is_symlink()


def test_a_unit_that_is_not_there_is_not_enabled(fake_host: Callable[..., Any]) -> None:
    found = _survey(fake_host(), units={name: Unit(name) for name in survey_units()})
    enabled = [change.unit for change in _compute(found).files if change.action == "enable"]
    assert units.GUESTS not in enabled


def survey_units() -> tuple[str, ...]:
    return (units.GUESTS, units.SHUTDOWN, units.RESTORE, units.TARGET)


def test_an_owner_is_refused_where_the_kept_file_starts_guests(fake_host: Callable[..., Any]) -> None:
    host = fake_host(text="ON_BOOT=start\n")
    host.put("/usr/lib/systemd/system/pacemaker.service", "[Install]\nWantedBy=multi-user.target\n")
    wants = host.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "pacemaker.service").symlink_to("/usr/lib/systemd/system/pacemaker.service")
    assert "pacemaker" in _refused(host, "--keep")


@pytest.mark.parametrize("text", [RECIPE, RECIPE + "# see also lvg-install\n"])
@pytest.mark.parametrize("place", ["/usr/lib/systemd/system", "/etc/systemd/system"])
def test_a_stop_unit_that_only_mentions_lvg_is_foreign(debian: Any, place: str, text: str) -> None:
    debian.put(f"{place}/graceful-shutdown.service", text)
    debian.put(f"{place}/graceful-restore.service", text)
    assert "/root/stopvm.sh --all" in _refused(debian)
    done = debian.install("--profile", "graceful", "--force")
    assert done.code == 0, done.err
    assert (debian.root / "usr/local/bin/stopvm").exists()


def test_a_package_without_its_program_is_no_protection(debian: Any) -> None:
    for unit, make in ((units.SHUTDOWN, units.graceful_shutdown), (units.RESTORE, units.graceful_restore)):
        debian.put(f"/usr/lib/systemd/system/{unit}", make("/usr/bin/stopvm"))
    done = debian.install("--profile", "graceful")
    assert done.code == 1
    assert "/usr/bin/stopvm is missing" in done.err
