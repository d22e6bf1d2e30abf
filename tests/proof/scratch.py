"""Scratch roots: how they are made, copied and compared, to the last byte, mode, owner, link and attribute."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "installer"), str(CHECKOUT / "tests")]

from conftest import STOCK, FakeHost, _debian  # noqa: E402

STATE = "var/lib/lvg"
CONFIG = "/etc/default/libvirt-guests"
_TEMPORARY = re.compile(r"(^|/)\.[^/]+\.lvg-(\d{4}|new)$")
_WHEN = re.compile(rb'"when": "[^"]*"')


class Item(NamedTuple):
    """One path of a tree. `data` is a file's content or a link's target."""

    kind: str
    data: bytes
    mode: int
    owner: tuple[int, int]
    attributes: tuple[tuple[str, bytes], ...]


Tree = dict[str, Item]


def host_at(root: Path) -> FakeHost:
    """Return what runs commands on the root in this process."""
    return FakeHost(root, root / CONFIG.lstrip("/"))


def plant(root: Path, kind: str) -> None:
    """Make a root: "debian", whose admin gave the config an owner, a mode and an attribute, or "openrc"."""
    root.mkdir(mode=0o755)
    _debian(root, CONFIG)
    host = host_at(root)
    host.put("/etc/os-release", 'ID=debian\nVERSION_ID="12"\nNAME="Debian GNU/Linux"\n')
    config = host.put(CONFIG, STOCK, 0o640)
    if os.geteuid() == 0:
        os.chown(config, 4242, 4243)
        os.setxattr(config, "trusted.lvg-test", b"the admin's")
    if kind == "openrc":
        _make_openrc(host)


def _make_openrc(host: FakeHost) -> None:
    shutil.rmtree(host.root / "usr/lib/systemd")
    host.put("/etc/os-release", "ID=alpine\nVERSION_ID=3.22.1\n")
    host.put("/sbin/openrc", "", 0o755)
    host.put("/etc/init.d/libvirt-guests", "#!/sbin/openrc-run\nstop() { :; }\n", 0o755)
    host.put("/etc/conf.d/libvirt-guests", '#LIBVIRT_SHUTDOWN="managedsave"\n\n#LIBVIRT_MAXWAIT="500"\n')
    (host.root / "etc/runlevels/default").mkdir(parents=True)


def copy(old: Path, new: Path) -> None:
    """Make `new` the same tree as `old`."""
    clear(new)
    subprocess.run(["cp", "-a", str(old), str(new)], check=True)


def clear(folder: Path) -> None:
    """Remove a tree, if there is one."""
    if folder.exists():
        shutil.rmtree(folder)


def look(root: Path) -> Tree:
    """Return everything below a root."""
    return {str(path.relative_to(root)): _item(path) for path in sorted(root.rglob("*"))}


def _item(path: Path) -> Item:
    found = path.lstat()
    kind, data, mode = "other", b"", stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        kind, data, mode = "link", os.fsencode(os.readlink(path)), 0
    elif stat.S_ISDIR(found.st_mode):
        kind = "folder"
    elif stat.S_ISREG(found.st_mode):
        kind, data = "file", path.read_bytes()
    names = sorted(os.listxattr(path, follow_symlinks=False))
    attributes = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    return Item(kind, data, mode, (found.st_uid, found.st_gid), attributes)


def outside(tree: Tree) -> Tree:
    """Return the tree without lvg's own state folder: what the host and its other programs see."""
    return {path: item for path, item in tree.items() if path != STATE and not path.startswith(f"{STATE}/")}


def timeless(tree: Tree) -> Tree:
    """Return the tree with the times in lvg's own state taken out, and what depends on them."""
    return {path: _timeless(item) if path.startswith(f"{STATE}/") else item for path, item in tree.items()}


def _timeless(item: Item) -> Item:
    data = _WHEN.sub(b'"when": ""', item.data)
    if data.startswith(b"{") and b'"entries"' in data:
        document = json.loads(data)
        for entry in document["entries"]:
            if entry["path"] == f"/{STATE}/applied.json":
                entry["before"] = entry["before"] == "absent"
                entry["after"] = entry["after"] == "absent"
        data = json.dumps(document).encode()
    return item._replace(data=data)


def is_temporary(path: str) -> bool:
    """True for the name of a file that a run lays beside its target before it swaps it in."""
    return bool(_TEMPORARY.search(path))


def differences(wanted: Tree, found: Tree) -> list[str]:
    """Return each path that is not the same, with what is different."""
    said = []
    for path in sorted({*wanted, *found}):
        one, two = wanted.get(path), found.get(path)
        if one != two:
            said.append(f"{path}: {_difference(one, two)}")
    return said


def _difference(wanted: Item | None, found: Item | None) -> str:
    if wanted is None or found is None:
        return "is there" if found else "is missing"
    pairs = zip(Item._fields, wanted, found, strict=True)
    return "other " + ", ".join(name for name, one, two in pairs if one != two)


def lay(root: Path, tree: Tree) -> None:
    """Make a root that is this tree."""
    clear(root)
    root.mkdir(mode=0o755)
    for path, item in tree.items():
        real = root / path
        if item.kind == "link":
            real.symlink_to(os.fsdecode(item.data))
        elif item.kind == "folder":
            real.mkdir()
        else:
            real.write_bytes(item.data)
        if os.geteuid() == 0:
            os.chown(real, *item.owner, follow_symlinks=False)
        for name, value in item.attributes:
            os.setxattr(real, name, value, follow_symlinks=False)
        if item.kind != "link":
            real.chmod(item.mode)
