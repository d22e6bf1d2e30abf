"""The RPM: one spec, built by rpmbuild, installed by rpm into a tree of its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import lvg
from machine import Machine
from natives import Natives, run, run_script
from trees import ENVIRONMENT, calls, dress, inside, record_systemctl, rpm, say_booted, state, tree, written

CHECKOUT = Path(__file__).resolve().parents[2]
RECIPE = CHECKOUT / "pkg/rpm"
CONFIG = "/etc/sysconfig/libvirt-guests"
OURS = ("graceful-shutdown.service", "graceful-restore.service")
LINKS = {f"etc/systemd/system/multi-user.target.wants/{name}" for name in OURS}
HOSTS = {
    "fedora": 'ID=fedora\nVERSION_ID=43\nNAME="Fedora Linux"\n',
    "el10": 'ID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="10.0"\n',
    "tumbleweed": 'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\nVERSION_ID="20261101"\n',
}


@pytest.fixture
def fedora() -> Iterator[Machine]:
    """A Fedora host with libvirt, in a tree that notes the calls of systemctl."""
    with tree() as machine:
        dress(machine, HOSTS["fedora"], CONFIG)
        record_systemctl(machine.root)
        yield machine


def install(machine: Machine, *words: str | Path) -> str:
    # The packages that it requires are Fedora's; what they are is tested by itself.
    return rpm(machine.root, "--nodeps", *words)


def test_the_packages_are_clean(natives: Natives) -> None:
    command = ["rpmlint", "--config", RECIPE / "rpmlint.toml", *natives.release.glob("rpm/*.rpm"), RECIPE / "lvg.spec"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.search(r"2 packages and 1 specfiles checked; 0 errors, 0 warnings", done.stdout), done.stdout


def test_an_install_brings_its_files_and_changes_nothing(fedora: Machine, natives: Natives) -> None:
    before = written(fedora)
    assert install(fedora, "-i", natives.rpm) == ""
    brought = {
        name for name in written(fedora) - before if not name.startswith("var/lib/rpm") and "systemctl" not in name
    }
    listed = {line.lstrip("/") for line in rpm(fedora.root, "-ql", "lvg").splitlines()}
    assert brought == {name for name in listed if not (fedora.root / name).is_dir()}
    assert not [name for name in listed if name.startswith(("etc", "var", "usr/local"))]
    assert rpm(fedora.root, "-V", "--nodeps", "lvg") == ""
    assert calls(fedora.root) == [f"--no-reload preset {' '.join(OURS)}"]
    for name in OURS:  # Debian's systemd enables what no preset names: it is ours that leaves them alone
        assert inside(fedora.root, "systemctl", "is-enabled", name, check=False).stdout == "disabled\n"
    assert inside(fedora.root, "lvg", "--version").stdout == f"lvg {lvg.__version__}\n"
    assert inside(fedora.root, "stopvm", "--version").stdout == f"stopvm {lvg.__version__}\n"
    for page in ("man5/lvg-profile.5.gz", "man8/lvg.8.gz", "man8/lvg-install.8.gz", "man8/stopvm.8.gz"):
        assert f"usr/share/man/{page}" in listed


@pytest.mark.parametrize("name", HOSTS)
def test_a_profile_can_be_applied_on_each_family(name: str, natives: Natives) -> None:
    with tree() as machine:
        dress(machine, HOSTS[name], CONFIG)
        install(machine, "-i", natives.rpm)
        inside(machine.root, "lvg-install", "--profile", "graceful")
        assert "ON_SHUTDOWN=shutdown\n" in (machine.root / CONFIG[1:]).read_text()
        assert inside(machine.root, "lvg", "status").returncode == 0
        assert not (machine.root / "usr/local/bin/stopvm").exists()


def test_from_the_first_install_to_the_last_removal(fedora: Machine, natives: Natives) -> None:
    root = fedora.root
    install(fedora, "-i", natives.older_rpm)
    inside(root, "lvg-install", "--profile", "graceful")
    applied = state(root)
    assert applied.keys() >= LINKS
    calls(root)
    for words in (["-U", natives.rpm], ["-U", "--replacepkgs", natives.rpm]):
        install(fedora, *words)
        assert state(root) == applied
        assert calls(root) == [], "an upgrade needs no systemctl where no systemd runs"
    assert inside(root, "lvg", "status").returncode == 0
    calls(root)
    assert install(fedora, "-e", "lvg") == ""
    gone = {name for name in applied if name not in state(root)}
    assert gone == LINKS | {
        "etc/systemd/system/libvirt-guests.service.d/50-lvg.conf",
        "etc/systemd/system/virt-guest-shutdown.target.d/50-lvg.conf",
        "etc/systemd/system/graceful-shutdown.service.d/50-lvg.conf",
    }
    assert state(root) == {name: data for name, data in applied.items() if name not in gone}
    assert calls(root) == []
    install(fedora, "-i", natives.rpm)
    assert not LINKS & state(root).keys()
    inside(root, "lvg-install", "--profile", "graceful")
    assert inside(root, "lvg", "status").returncode == 0
    inside(root, "lvg", "remove")
    assert not (root / CONFIG[1:]).exists()


def test_on_a_running_system_no_script_asks_for_more_than_a_reload(fedora: Machine, natives: Natives) -> None:
    say_booted(fedora.root)
    install(fedora, "-i", natives.older_rpm)
    assert calls(fedora.root) == [f"--no-reload preset {' '.join(OURS)}"]
    for words in (["-U", natives.rpm], ["-U", "--replacepkgs", natives.rpm]):
        install(fedora, *words)
        assert set(calls(fedora.root)) <= {"daemon-reload"}
    install(fedora, "-e", "lvg")
    assert set(calls(fedora.root)) <= {"daemon-reload"}


def test_where_it_was_applied_from_a_checkout_the_units_stay_enabled(fedora: Machine, natives: Natives) -> None:
    checkout = [CHECKOUT / "bin/lvg-install", "--root", fedora.root, "--profile", "graceful", "--quiet"]
    subprocess.run(checkout, check=True)
    local = state(fedora.root)
    assert local.keys() > LINKS
    install(fedora, "-i", natives.rpm)
    assert state(fedora.root) == local
    assert calls(fedora.root) == []
    inside(fedora.root, "lvg-install", "--profile", "graceful")
    assert inside(fedora.root, "lvg", "status").returncode == 0
    assert state(fedora.root).keys() > LINKS
    assert not (fedora.root / "usr/local/bin/stopvm").exists(), "the package's program is in force"


def test_the_build_runs_the_fast_tests(tmp_path: Path) -> None:
    done = run_script(CHECKOUT / "pkg/build-rpm", tmp_path, tests="-p no:cacheprovider -k no_test_has_this_name")
    assert done.returncode != 0
    assert re.search(r"\d{4} deselected", done.stderr), done.stderr
    assert list(tmp_path.iterdir()) == []


def required(home: Path, *defines: str) -> set[str]:
    """What the spec requires where a distribution's macros are set as in `defines`."""
    (home / ".rpmmacros").write_text((RECIPE / "macros.debian").read_text())
    words = [word for define in defines for word in ("--define", define)]
    done = run("rpmspec", *words, "--query", "--requires", RECIPE / "lvg.spec", env={**ENVIRONMENT, "HOME": str(home)})
    return {line for line in done.split("\n") if line and not line.startswith(("rpmlib(", "/"))}


def test_the_spec_names_what_each_family_calls_its_packages(tmp_path: Path) -> None:
    common = {"libvirt-client", "libvirt-daemon-common", "systemd"}
    assert required(tmp_path, "fedora 43") == {*common, "python3-libvirt"}
    modules = {"python3-distro", "python3-packaging", "python3-rich", "python3-typer"}
    assert required(tmp_path, "suse_version 1699") == {*common, *modules, "python3-libvirt-python"}


def test_all_macros_that_debian_lacks_are_beside_the_spec() -> None:
    shim = set(re.findall(r"^%(\w+)", (RECIPE / "macros.debian").read_text(), re.M))
    theirs = r"(?<!%)%\{?\??(\w*(?:pyproject|python3|pytest|systemd|unitdir|presetdir)\w*)"
    used = set(re.findall(theirs, (RECIPE / "lvg.spec").read_text()))
    assert len(used) > 8
    assert used <= shim
