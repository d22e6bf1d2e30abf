"""The Arch package: built by makepkg, installed by pacman into a tree of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import lvg
from machine import Machine
from natives import Natives, run_script
from trees import (
    arch_needs,
    arch_package,
    calls,
    inside,
    libvirt,
    pacman,
    put,
    record_systemctl,
    say_booted,
    state,
    tree,
    written,
)

CHECKOUT = Path(__file__).resolve().parents[2]
RECIPE = CHECKOUT / "pkg/arch"
CONFIG = "/etc/conf.d/libvirt-guests"


@pytest.fixture
def arch(tmp_path: Path) -> Iterator[Machine]:
    """An Arch host with libvirt, in a tree."""
    with tree() as machine:
        put(machine.root, {"etc/os-release": 'ID=arch\nNAME="Arch Linux"\n'})
        package = arch_package(tmp_path, "libvirt", "12.3.0", libvirt(CONFIG), arch_needs())
        pacman(machine.root, "-U", package)
        yield machine


def changed(machine: Machine, before: set[str]) -> set[str]:
    """What pacman wrote or deleted, without its own database and log."""
    return {
        name for name in written(machine) - before if not name.startswith(("var/lib/pacman", "var/log", "var/cache"))
    }


def test_an_install_brings_its_files_and_changes_nothing(arch: Machine, natives: Natives) -> None:
    before = written(arch)
    said = pacman(arch.root, "-U", natives.arch)
    files = [line.removeprefix(f"{arch.root}/") for line in pacman(arch.root, "-Qlq", "lvg").splitlines()]
    assert changed(arch, before) == {name for name in files if not name.endswith("/")}
    assert not [name for name in files if name.startswith(("etc", "var", "usr/local"))]
    assert "lvg-install --profile graceful" in said
    assert inside(arch.root, "lvg", "--version").stdout == f"lvg {lvg.__version__}\n"
    assert inside(arch.root, "lvg", "status", check=False).returncode == 6
    for name in ("graceful-shutdown.service", "graceful-restore.service"):
        assert inside(arch.root, "systemctl", "is-enabled", name, check=False).stdout == "disabled\n"


def test_everything_has_its_place(arch: Machine, natives: Natives) -> None:
    pacman(arch.root, "-U", natives.arch)
    usr = arch.root / "usr"
    for page in ("man5/lvg-profile.5.gz", "man8/lvg.8.gz", "man8/lvg-install.8.gz", "man8/stopvm.8.gz"):
        assert (usr / "share/man" / page).exists()
    for name in ("lvg", "lvg-install", "stopvm"):
        assert (usr / "share/bash-completion/completions" / name).exists()
        assert (usr / f"share/zsh/site-functions/_{name}").exists()
        assert (usr / f"share/fish/vendor_completions.d/{name}.fish").exists()
    assert (usr / "share/licenses/lvg/LICENSE").exists()
    assert "ExecStop=/usr/bin/stopvm stop\n" in (usr / "lib/systemd/system/graceful-shutdown.service").read_text()
    assert "0 altered files" in pacman(arch.root, "-Qkk", "lvg")


def test_from_the_first_install_to_the_last_removal(arch: Machine, natives: Natives) -> None:
    root = arch.root
    record_systemctl(root)
    pacman(root, "-U", natives.older_arch)
    calls(root)
    inside(root, "lvg-install", "--profile", "graceful", "--set", "timeout=111")
    assert (root / CONFIG[1:]).read_text().startswith("# Installed by lvg-install")
    applied = state(root)
    calls(root)
    say_booted(root)
    for package in (natives.arch, natives.arch):  # an upgrade, then a reinstall
        pacman(root, "-U", package)
        assert state(root) == applied
        assert calls(root) == []
    (root / "run/systemd/system").rmdir()
    assert inside(root, "lvg", "status").returncode == 0
    said = pacman(root, "-R", "lvg")
    assert "nothing was stopped" in said
    assert calls(root) == []
    left = state(root)
    gone = {name for name in applied if name not in left}
    assert {name: left[name] for name in left} == {name: applied[name] for name in applied if name not in gone}
    assert gone == {
        "etc/systemd/system/libvirt-guests.service.d/50-lvg.conf",
        "etc/systemd/system/virt-guest-shutdown.target.d/50-lvg.conf",
        "etc/systemd/system/graceful-shutdown.service.d/50-lvg.conf",
        "etc/systemd/system/multi-user.target.wants/graceful-shutdown.service",
        "etc/systemd/system/multi-user.target.wants/graceful-restore.service",
    }
    assert not list((root / "etc/systemd/system").glob("*.d"))
    assert not (root / "usr/lib/lvg").exists()
    pacman(root, "-U", natives.arch)
    assert inside(root, "lvg", "status", check=False).returncode == 3
    inside(root, "lvg-install", "--profile", "graceful", "--set", "timeout=111")
    assert inside(root, "lvg", "status").returncode == 0
    inside(root, "lvg", "remove")
    assert not (root / CONFIG[1:]).exists()


def test_the_hook_speaks_of_drift_alone_and_never_fails(arch: Machine, natives: Natives, tmp_path: Path) -> None:
    root = arch.root
    pacman(root, "-U", natives.arch)

    def upgrade(version: str, config: str = CONFIG) -> list[str]:
        """Upgrade libvirt; return what came after the line with which pacman announces the hook."""
        said = pacman(root, "-U", arch_package(tmp_path, "libvirt", version, libvirt(config), arch_needs()))
        assert said.count("(1/1) Checking that guests will still end cleanly...") == 1
        assert pacman(root, "-Q", "libvirt") == f"libvirt {version}-1\n"
        return said.split("cleanly...", 1)[1].split()

    assert upgrade("12.4.0") == [], "nothing is applied"
    inside(root, "lvg-install", "--profile", "graceful")
    assert upgrade("12.5.0") == [], "all is well"
    path = root / CONFIG[1:]
    path.write_text(path.read_text().replace("ON_SHUTDOWN=shutdown", "ON_SHUTDOWN=suspend"))
    words = " ".join(upgrade("12.6.0"))
    assert words == "lvg: ON_SHUTDOWN is suspend, expected shutdown (lvg status says more)"
    words = " ".join(upgrade("12.7.0", "/etc/default/libvirt-guests"))
    assert re.fullmatch(r"lvg: the file that counts is \S+, expected \S+ \(lvg status says more\)", words)
    shutil.rmtree(root / "usr/lib/python3/dist-packages/lvg")
    assert len(upgrade("12.8.0")) > 0, "lvg itself is broken: that is said, and it fails nothing"


def test_the_build_runs_the_fast_tests(tmp_path: Path) -> None:
    done = run_script(CHECKOUT / "pkg/build-arch", tmp_path, tests="-p no:cacheprovider -k no_test_has_this_name")
    assert done.returncode != 0
    assert re.search(r"\d{4} deselected", done.stderr), done.stderr
    assert "check()" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_is_clean_shell() -> None:
    words = [
        "shellcheck",
        "-s",
        "bash",
        "--exclude",
        "SC2034,SC2154,SC2164",
    ]  # makepkg's own variables; it stops on errors
    done = subprocess.run([*words, RECIPE / "PKGBUILD"], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    done = subprocess.run(
        ["shellcheck", "-s", "bash", RECIPE / "lvg.install"], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


def test_the_aur_gets_a_recipe_with_version_and_checksum(natives: Natives) -> None:
    folder = natives.release / "arch/aur"
    fields = dict(re.findall(r"^\t?(\w+) = (.*)$", (folder / ".SRCINFO").read_text(), re.M))
    assert fields["pkgver"] == lvg.__version__
    assert fields["sha256sums"] in (natives.release / "SHA256SUMS").read_text()
    assert f"pkgver={lvg.__version__}\n" in (folder / "PKGBUILD").read_text()
