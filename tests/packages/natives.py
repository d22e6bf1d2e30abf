"""What pkg/release makes of the checkout, and the Arch and RPM packages of an older version: kept in the cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lvg
from debs import EPOCH, OLD_VERSION, become, digest
from install import CHECKOUT, copy_checkout
from roots import cached

# The fast tests of a build are these few: that they run is what a test here can show.
FEW_TESTS = "-p no:cacheprovider -k test_is_the_same_bytes_each_time"


@dataclass(frozen=True)
class Natives:
    """The folder of a release, and the older Arch and RPM packages."""

    release: Path
    older_arch: Path
    older_rpm: Path

    @property
    def arch(self) -> Path:
        return self._one("arch/*.pkg.tar.zst")

    @property
    def rpm(self) -> Path:
        return self._one("rpm/*.noarch.rpm")

    @property
    def wheel(self) -> Path:
        return self._one("*.whl")

    @property
    def sdist(self) -> Path:
        return self._one("*.tar.gz")

    def _one(self, pattern: str) -> Path:
        (found,) = self.release.glob(pattern)
        return found


def build() -> Natives:
    older = _cached("natives-old", OLD_VERSION, ("pkg/build-arch", "pkg/build-rpm"))
    return Natives(
        release=_cached("release", lvg.__version__, ("pkg/release",)),
        older_arch=next(older.glob("*.pkg.tar.zst")),
        older_rpm=next(older.glob("*.noarch.rpm")),
    )


def _cached(name: str, version: str, scripts: tuple[str, ...]) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_checkout(tree, ".")
        become(tree, version)
        return cached(name, digest(tree), lambda out: _run(tree, scripts, out))


def _run(tree: Path, scripts: tuple[str, ...], out: Path) -> None:
    for script in scripts:
        done = run_script(tree / script, out)
        assert done.returncode == 0, f"{script}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


def run_script(script: Path, out: Path, tests: str = FEW_TESTS) -> subprocess.CompletedProcess[str]:
    """Run one of the build scripts as a release would, but for the few tests that it runs."""
    environment = {
        "PATH": os.defpath,
        "SOURCE_DATE_EPOCH": EPOCH,
        "PYTEST_ADDOPTS": tests,
        "DEB_BUILD_OPTIONS": "nocheck",
    }
    command = [str(script), str(out)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )


def run(*argv: str | Path, **more: Any) -> str:
    """Run a program that has to succeed; return what it printed."""
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def environment(natives: Natives, folder: Path) -> Path:
    """Make a virtual environment with lvg[libvirt] from the wheel, and nothing of the distro's."""
    run("/usr/bin/python3", "-m", "venv", folder)
    offline = ["--no-index", "--find-links", _wheels(), "--find-links", natives.release]
    run(folder / "bin/pip", "install", "--quiet", *offline, f"lvg[libvirt]=={lvg.__version__}")
    return folder


def _wheels() -> Path:
    """What lvg[libvirt] needs, as wheels from PyPI. It has none of libvirt-python: that is compiled, once."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["libvirt"]]
    key = hashlib.sha256(" ".join([*wanted, sys.version]).encode()).hexdigest()[:16]

    def build(out: Path) -> None:
        run("/usr/bin/python3", "-m", "venv", out / "venv")
        run(out / "venv/bin/pip", "wheel", "--quiet", "--wheel-dir", out / "wheels", *wanted)

    return cached("wheels", key, build) / "wheels"
