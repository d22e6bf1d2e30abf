"""Builds the Debian package of the checkout, and that of an older version of it, and keeps both in the cache."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import lvg
from install import copy_checkout
from roots import cached

OLD_VERSION = "0.0.9"
EPOCH = "1767225600"  # any time that is not now


@dataclass(frozen=True)
class Debs:
    """Paths of two .deb files. The units and the program of `old` differ from those of `new`."""

    old: Path
    new: Path


def build() -> Debs:
    return Debs(old=_cached(OLD_VERSION), new=_cached(lvg.__version__))


def _cached(version: str) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_checkout(tree, ".")
        become(tree, version)
        name = "deb-" + ("new" if version == lvg.__version__ else "old")
        out = cached(name, digest(tree), lambda out: _build(tree, out))
    return next(out.glob("*.deb"))


def _build(tree: Path, out: Path) -> None:
    """Run the tree's own build script, without the tests that it would run: they run anyway."""
    environment = {"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": EPOCH, "LVG_NOCHECK": "1"}
    command = [str(tree / "pkg/build-deb"), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def become(tree: Path, version: str) -> None:
    if version == lvg.__version__:
        return
    for name in ("installer/lvg/__init__.py", "installer/lvg/stopvm/__init__.py"):
        path = tree / name
        path.write_text(re.sub(r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"', path.read_text()))
    units = tree / "installer/lvg/units.py"
    units.write_text(units.read_text().replace("Description=", f"Description=({version}) "))


def digest(tree: Path) -> str:
    found = hashlib.sha256(EPOCH.encode())
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        executable = os.access(path, os.X_OK)
        found.update(f"{path.relative_to(tree)} {executable}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]
