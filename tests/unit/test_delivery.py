"""The two ways to deliver settings, the other dialect, and the switch to a distro package."""

import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from lvg import bundle, units

OPENRC_FILE = '# comment\n#LIBVIRT_SHUTDOWN="managedsave"\n#LIBVIRT_MAXWAIT="500"\n'


def test_overlay_covers_the_file_and_leaves_it_alone(debian: Any) -> None:
    before = debian.config.read_bytes()
    done = debian.install("--profile", "graceful", "--overlay")
    assert done.code == 0, done.err
    assert debian.config.read_bytes() == before
    overlay = debian.root / "etc/lvg/libvirt-guests"
    kept = [line for line in overlay.read_bytes().splitlines() if line in before.splitlines()]
    assert kept == before.splitlines()
    assert "ON_SHUTDOWN=shutdown" in overlay.read_text().splitlines()
    dropin = (debian.root / "etc/systemd/system/libvirt-guests.service.d/50-lvg-overlay.conf").read_text()
    assert "BindReadOnlyPaths=-/etc/lvg/libvirt-guests:/etc/default/libvirt-guests" in dropin
    assert debian.run("lvg", "status").code == 0


def test_a_change_of_the_covered_file_is_drift_and_the_next_run_takes_it_over(debian: Any) -> None:
    debian.install("--profile", "graceful", "--overlay")
    debian.config.write_text(debian.config.read_text() + "SYNC_TIME=1\n")
    assert debian.run("lvg", "status").code == 3
    assert debian.install("--profile", "graceful", "--overlay").code == 0
    assert "SYNC_TIME=1" in (debian.root / "etc/lvg/libvirt-guests").read_text()
    assert debian.run("lvg", "status").code == 0


def test_from_edit_to_overlay_and_back(debian: Any) -> None:
    first, before = debian.config.read_bytes(), debian.tree()
    debian.install("--profile", "graceful")
    edited = debian.config.read_bytes()
    done = debian.install("--profile", "graceful", "--overlay")
    assert done.code == 0, done.err
    assert debian.config.read_bytes() == first
    debian.install("--profile", "graceful")
    assert debian.config.read_bytes() == edited
    assert not (debian.root / "etc/lvg/libvirt-guests").exists()
    assert debian.run("lvg", "status").code == 0
    debian.run("lvg", "remove")
    assert debian.tree() == before


def test_overlay_creates_the_file_where_there_is_none(fake_host: Callable[..., Any]) -> None:
    host = fake_host(text=None)
    for _ in range(2):
        done = host.install("--profile", "graceful", "--overlay", "--json")
        assert done.code == 0, done.err
        assert "ON_SHUTDOWN=shutdown" in host.config.read_text()
        assert not (host.root / "etc/lvg/libvirt-guests").exists()
    assert json.loads(done.out)["changed"] is False


@pytest.fixture
def alpine(fake_host: Callable[..., Any]) -> Any:
    host = fake_host("ID=alpine\nVERSION_ID=3.20.7\n", "/etc/conf.d/libvirt-guests", OPENRC_FILE)
    subprocess.run(["rm", "-r", str(host.root / "usr/lib/systemd")], check=True)
    host.put("/sbin/openrc", "", 0o755)
    host.put("/etc/init.d/libvirt-guests", '#!/sbin/openrc-run\nstop() { echo "$LIBVIRT_SHUTDOWN"; }\n', 0o755)
    (host.root / "etc/runlevels/default").mkdir(parents=True)
    return host


def test_openrc_gets_its_own_dialect_and_an_init_script(alpine: Any) -> None:
    before = alpine.tree()
    done = alpine.install("--profile", "graceful")
    assert done.code == 0, done.err
    text = alpine.config.read_text().splitlines()
    assert "LIBVIRT_SHUTDOWN=shutdown" in text
    assert "LIBVIRT_MAXWAIT=240" in text
    assert not [line for line in text if line.startswith(("ON_", "SHUTDOWN_TIMEOUT"))]
    assert "destroy" in done.err
    script = alpine.root / "etc/init.d/graceful-shutdown"
    assert "program=/usr/local/bin/stopvm\n" in script.read_text()
    assert (alpine.root / "usr/local/bin/stopvm").stat().st_mode & 0o111
    policy = json.loads((alpine.root / "etc/lvg/policy.json").read_text())
    assert policy["uris"] == ["qemu:///system"]
    assert policy["net"] == {"on_boot": "ignore", "on_shutdown": "shutdown", "shutdown_timeout": 240, "parallel": 100}
    for name in ("libvirt-guests", "graceful-shutdown"):
        assert str((alpine.root / "etc/runlevels/default" / name).readlink()) == f"/etc/init.d/{name}"
    assert alpine.run("lvg", "status").code == 0
    assert "nothing to do" in alpine.install("--profile", "graceful").out
    script.write_text(script.read_text() + "# mine\n")
    assert alpine.run("lvg", "status").code == 3
    assert alpine.install("--profile", "graceful").code == 4
    alpine.run("lvg", "remove", "--force")
    shutil.rmtree(alpine.root / "var/lib/lvg", ignore_errors=True)
    assert alpine.tree() == before


def test_a_graceful_shutdown_script_of_somebody_else_is_kept_until_forced(alpine: Any) -> None:
    alpine.put("/etc/init.d/graceful-shutdown", "#!/sbin/openrc-run\nstop() { /root/stop-guests; }\n", 0o755)
    before = alpine.tree()
    done = alpine.install("--profile", "graceful")
    assert (done.code, alpine.tree()) == (4, before)
    assert alpine.install("--profile", "graceful", "--force").code == 0
    assert alpine.run("lvg", "remove").code == 0
    assert alpine.tree() == before


def test_openrc_without_enabling_or_protection(alpine: Any) -> None:
    done = alpine.install("--profile", "graceful", "--no-enable", "--set", "protect=false")
    assert done.code == 0, done.err
    assert not list((alpine.root / "etc/runlevels/default").iterdir())
    assert "want libvirt-guests" in (alpine.root / "etc/init.d/graceful-shutdown").read_text()
    assert alpine.run("lvg", "status").code == 0


def test_an_init_that_runs_no_stopvm_gets_the_settings_alone(fake_host: Callable[..., Any]) -> None:
    host = fake_host()
    shutil.rmtree(host.root / "usr/lib/systemd")
    host.put("/etc/init.d/libvirt-guests", "#!/bin/sh\nexec /usr/lib/libvirt/libvirt-guests.sh\n", 0o755)
    host.put("/etc/inittab", "")
    done = host.install("--profile", "graceful")
    assert done.code == 0, done.err
    assert "stopvm needs systemd or OpenRC" in done.err
    assert not (host.root / "usr/local/bin/stopvm").exists()


@pytest.mark.parametrize("words", [("--overlay",), ("--set", "BYPASS_CACHE=1"), ("--set", "START_DELAY=5")])
def test_openrc_refuses_what_it_cannot_have(alpine: Any, words: tuple[str, ...]) -> None:
    before = alpine.tree()
    done = alpine.install("--profile", "graceful", *words)
    assert (done.code, alpine.tree()) == (2, before)
    assert len(done.err.splitlines()) == 2


def test_a_package_takes_over_from_a_local_install(debian: Any) -> None:
    debian.install("--profile", "graceful")
    for unit, make in ((units.SHUTDOWN, units.graceful_shutdown), (units.RESTORE, units.graceful_restore)):
        debian.put(f"/usr/lib/systemd/system/{unit}", make("/usr/bin/stopvm"))
    debian.put("/usr/bin/stopvm", bundle.program(), 0o755)
    done = debian.install("--profile", "graceful")
    assert done.code == 0, done.err
    for path in ("usr/local/bin/stopvm", f"etc/systemd/system/{units.SHUTDOWN}", f"etc/systemd/system/{units.RESTORE}"):
        assert not (debian.root / path).exists(), f"{path} would shadow the package's"
    link = debian.root / "etc/systemd/system/multi-user.target.wants" / units.SHUTDOWN
    assert str(link.readlink()) == f"/usr/lib/systemd/system/{units.SHUTDOWN}"
    assert debian.run("lvg", "status").code == 0
    assert "nothing to do" in debian.install("--profile", "graceful").out


def test_a_setting_that_this_libvirt_does_not_know_is_refused(debian: Any) -> None:
    script = debian.root / "usr/lib/libvirt/libvirt-guests.sh"
    script.write_text(script.read_text().replace('PERSISTENT_ONLY="default"\n', ""))
    done = debian.install("--profile", "graceful", "--set", "PERSISTENT_ONLY=true")
    assert done.code == 2
    assert "PERSISTENT_ONLY" in done.err
    assert debian.install("--profile", "graceful", "--set", "PERSISTENT_ONLY=default").code == 0
