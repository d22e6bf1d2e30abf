"""The sdist and the wheel: whole, clean, and good for `pip install` in a virtual environment."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import pytest

import lvg
from debs import EPOCH
from lvg import bundle, layout, units
from natives import Natives, run

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(natives: Natives, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run("tar", "-C", folder, "-xf", natives.sdist)
    return folder / f"lvg-{lvg.__version__}"


def test_the_sdist_holds_every_file_of_the_checkout(natives: Natives) -> None:
    git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT)]
    listing = run(*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    there = {name for name in listing if name and (CHECKOUT / name).is_file()}
    with tarfile.open(natives.sdist) as archive:
        members = archive.getmembers()
    top = f"lvg-{lvg.__version__}/"
    assert {member.name.removeprefix(top) for member in members if not member.isdir()} == {*there, "PKG-INFO"}
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, int(EPOCH))}
    assert {member.mode for member in members if member.isfile()} == {0o644, 0o755}


def test_the_wheel_holds_every_module_and_profile(natives: Natives) -> None:
    names = set(zipfile.ZipFile(natives.wheel).namelist())
    source = CHECKOUT / "installer"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    shipped = {f"lvg/shipped/{path.name}" for path in (CHECKOUT / "profiles").glob("*.toml")}
    assert {name for name in names if ".dist-info/" not in name} == modules | shipped


def test_what_pypi_would_show_is_clean(natives: Natives) -> None:
    assert run("twine", "check", "--strict", natives.wheel, natives.sdist).count("PASSED") == 2


def test_units_and_program_of_the_packages_come_from_the_sdist_alone(unpacked: Path, tmp_path: Path) -> None:
    run(unpacked / "pkg/artefacts", tmp_path, env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": EPOCH})
    assert (tmp_path / "bin/stopvm").read_bytes() == bundle.program()
    for name, make in ((units.SHUTDOWN, units.graceful_shutdown), (units.RESTORE, units.graceful_restore)):
        assert (tmp_path / "units" / name).read_text() == make(layout.PACKAGED_PROGRAM)
    assert len(list((tmp_path / "man").iterdir())) == 4


def test_the_virtual_environment_needs_nothing_of_the_distros(environment: Path, tmp_path: Path) -> None:
    asked = "import libvirt, lvg, typer; print(*(module.__file__ for module in (libvirt, lvg, typer)), sep='\\n')"
    for place in run(environment / "bin/python", "-c", asked, cwd=tmp_path).split():
        assert place.startswith(f"{environment}/")
    for name in ("lvg", "lvg-install", "stopvm"):
        assert (
            run(environment / "bin" / name, "--version", env={})
            == f"{name.removesuffix('-install')} {lvg.__version__}\n"
        )
    shown = json.loads(run(environment / "bin/lvg", "profiles", "--json", env={}))["profiles"]
    assert {profile["name"] for profile in shown} >= {path.stem for path in (CHECKOUT / "profiles").glob("*.toml")}
    history = tmp_path / "state"
    words = ["stop", "--now", "--uri", "test:///default", "--state", history, "--policy", "/none"]
    run(environment / "bin/stopvm", *words, env={})
    assert len(list(history.glob("history/*.json"))) == 1


def test_what_was_installed_lives_on_without_the_environment(environment: Path, debian, tmp_path: Path) -> None:
    run(environment / "bin/lvg-install", "--root", debian.root, "--profile", "graceful", env={})
    assert (debian.root / "usr/local/bin/stopvm").read_bytes() == bundle.program()
    for path in (debian.root / "etc/systemd/system").rglob("*"):
        assert not path.is_file() or str(environment) not in path.read_text()
