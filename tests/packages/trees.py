"""System trees without services, for pacman and rpm: what they install can run in there, and nothing can be stopped.

The tree is Debian's, since that is what is at hand: Python with the modules that lvg needs, and systemd's tools.
`dress` says which distribution it is, and puts a libvirt-guests there that reads that distribution's file.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from install import CHECKOUT
from machine import INSIDE, Machine
from roots import LVG_PACKAGES, SLIM, Recipe, build_host, cached

PACKAGES = [*LVG_PACKAGES, "python3-libvirt", "systemd", "gettext-base"]
ENVIRONMENT = {**INSIDE, "PYTHONDONTWRITEBYTECODE": "1"}
STOCK = CHECKOUT / "tests/data/libvirt-guests"


def base() -> Path:
    options = ("--variant=minbase", "--include=" + ",".join(PACKAGES), *SLIM)
    recipe = Recipe("tree", "trixie", options, "")
    return cached(recipe.name, recipe.key(), lambda out: build_host(recipe, out))


@contextmanager
def tree() -> Iterator[Machine]:
    """A copy of the base tree, in memory, gone after the block. It is never booted."""
    with Machine([base()]) as machine:
        yield machine


def libvirt(config: str) -> dict[str, str]:
    """The files of a libvirt package whose libvirt-guests reads `config`: path -> text."""
    unit, script = ((STOCK / f"libvirt-guests.{kind}").read_text(encoding="utf-8") for kind in ("service", "sh"))
    return {
        "usr/lib/systemd/system/libvirt-guests.service": unit.replace("@config@", config),
        "usr/lib/systemd/system/virt-guest-shutdown.target": "[Unit]\nDescription=libvirt guests shutdown target\n",
        "usr/lib/libvirt/libvirt-guests.sh": script.replace("@config@", config),
    }


def put(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if text.startswith("#!") else 0o644)


def dress(machine: Machine, os_release: str, config: str) -> None:
    put(machine.root, {"etc/os-release": os_release, **libvirt(config)})


# -- commands --------------------------------------------------------------------------------------------------------

# The tree has a /proc and devices while the command runs, and no systemd.
_WITH_PROC = 'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; exec "$@"'


def beside(root: Path, *argv: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program of this machine that works on the tree, such as `pacman --root`."""
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", _WITH_PROC, str(root)]
    command = [*words, *map(str, argv)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def inside(root: Path, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program of the tree in the tree."""
    return beside(root, "chroot", root, *argv, check=check)


def pacman(root: Path, *words: str | Path) -> str:
    """Run pacman on the tree. Returns what it printed; what scripts and hooks print is part of it."""
    (root / "var/lib/pacman").mkdir(parents=True, exist_ok=True)
    places = {"--dbpath": "var/lib/pacman", "--cachedir": "var/cache/pacman", "--logfile": "var/log/pacman.log"}
    options = [word for option, path in places.items() for word in (option, root / path)]
    done = beside(root, "pacman", "--root", root, *options, "--noconfirm", *words)
    return done.stdout + done.stderr


def rpm(root: Path, *words: str | Path) -> str:
    """Run rpm on the tree, without asking for packages that only Fedora has. Returns what it and scripts printed."""
    command = ["rpm", "--root", root, "--dbpath", "/var/lib/rpm"]  # Debian's would lie in the home of root
    if not (root / "var/lib/rpm").exists():
        beside(root, *command, "--initdb")
    done = beside(root, *command, *words)
    debians = ("rpm: RPM should not be used directly", "rpm: However assuming you know")  # every time
    return "".join(
        line for line in (done.stdout + done.stderr).splitlines(keepends=True) if not line.startswith(debians)
    )


def arch_needs() -> list[str]:
    """What the Arch package needs, but for libvirt itself."""
    (line,) = re.findall(r"(?m)^depends=\((.*)\)$", (CHECKOUT / "pkg/arch/PKGBUILD").read_text(encoding="utf-8"))
    return [name for name in re.findall(r"[\w-]+", line) if name != "libvirt"]


def arch_package(folder: Path, name: str, version: str, files: Mapping[str, str], provides: Iterable[str] = ()) -> Path:
    """Make a package for pacman out of `files`."""
    where = folder / f"{name}-{version}"
    info = [f"pkgname = {name}", f"pkgver = {version}-1", "pkgdesc = test", "arch = any", "size = 1"]
    put(where, {**files, ".PKGINFO": "\n".join([*info, *(f"provides = {word}" for word in provides), ""])})
    target = folder / f"{name}-{version}-1-any.pkg.tar.gz"
    names = sorted(path.name for path in where.iterdir())
    subprocess.run(["bsdtar", "-C", str(where), "-czf", str(target), "--uid=0", "--gid=0", *names], check=True)
    return target


# -- what happened ---------------------------------------------------------------------------------------------------


def written(machine: Machine) -> set[str]:
    """Every path that is not as in the base tree: written, linked or deleted since."""
    found = set()
    for folder, _, names in os.walk(machine.upper):
        found |= {str(Path(folder, name).relative_to(machine.upper)) for name in names}
    return found


def state(root: Path) -> dict[str, bytes | str]:
    """Everything below /etc and /var/lib/lvg: file -> bytes, link -> target."""
    found: dict[str, bytes | str] = {}
    for folder in ("etc", "var/lib/lvg"):
        for path in (root / folder).rglob("*"):
            name = str(path.relative_to(root))
            if path.is_symlink():
                found[name] = str(path.readlink())
            elif path.is_file():
                found[name] = path.read_bytes()
    return found


RECORDER = """\
#!/bin/sh
echo "$*" >>/systemctl.log
[ -d /run/systemd/system ] || exec /usr/bin/systemctl.real "$@"
"""


def record_systemctl(root: Path) -> None:
    """Note each call of systemctl in the tree, and let none of them reach for a systemd that is not there."""
    (root / "usr/bin/systemctl").rename(root / "usr/bin/systemctl.real")
    put(root, {"usr/bin/systemctl": RECORDER})


def say_booted(root: Path) -> None:
    """Let scripts think that systemd runs here."""
    (root / "run/systemd/system").mkdir(parents=True, exist_ok=True)


def calls(root: Path) -> list[str]:
    """The calls of systemctl since the last time."""
    log = root / "systemctl.log"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines
