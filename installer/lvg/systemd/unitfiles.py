"""Unit files, links and presets below a root, found the way systemd finds them.

For hosts that are not running: images, chroots, and a live host whose init is not systemd. The search
order is that of systemd.unit(5); a running systemd is asked instead (systemd.py).
"""

import fnmatch
import os
from collections.abc import Iterator

from lvg.files import Root
from lvg.systemd.unitsyntax import also, install_links

VENDOR = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
SEARCH = ("/etc/systemd/system", "/run/systemd/system", *VENDOR)
_PRESETS = tuple(f"{folder}/systemd/system-preset" for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
_PULLING = (".wants", ".requires", ".upholds")


def fragment(root: Root, name: str, folders: tuple[str, ...] = SEARCH) -> str:
    """Return the path of the unit file that counts, also if it masks the unit; "" if there is none."""
    paths = (f"{folder}/{candidate}" for candidate in _file_names(name) for folder in folders)
    return next((path for path in paths if _is_there(root, path)), "")


def vendor_fragment(root: Root, name: str) -> str:
    """Return the path of the unit file that a package installed, whatever /etc says; "" if none."""
    return fragment(root, name, VENDOR)


def _file_names(name: str) -> tuple[str, ...]:
    """Return the names a unit's file may have: an instance a@b.service also comes from a@.service."""
    stem, at, rest = name.partition("@")
    return (name, f"{stem}@.{rest.rpartition('.')[2]}") if at else (name,)


def _is_there(root: Root, path: str) -> bool:
    return root.exists(path) or _link(root, path) == "/dev/null"


def _link(root: Root, path: str) -> str:
    """Return the text of a link, or "" if there is no link at this path."""
    try:
        return os.readlink(root.real(path, follow_last=False))
    except OSError:
        return ""


def is_masked(root: Root, path: str) -> bool:
    """True if the file at `path` is a link to /dev/null or empty: both mask a unit or a drop-in."""
    return _link(root, path) == "/dev/null" or root.read(path) == b""


def drop_ins(root: Root, name: str) -> tuple[str, ...]:
    """Return the paths of the drop-ins that count for a unit, in the order in which they apply.

    The file names decide the order; of two with one name the first of the search order counts. A
    masked one is left out.
    """
    found: dict[str, str] = {}
    for folder in (f"{folder}/{owner}.d" for owner in _drop_in_owners(name) for folder in SEARCH):
        for file in root.listdir(folder):
            if file.endswith(".conf"):
                found.setdefault(file, f"{folder}/{file}")
    there = (found[file] for file in sorted(found) if root.exists(found[file]))
    return tuple(path for path in there if not is_masked(root, path))


def _drop_in_owners(name: str) -> list[str]:
    """Return a-b.service, a-.service, service: from the unit itself to all units of its type."""
    stem, _, kind = name.rpartition(".")
    parts = stem.split("-")
    prefixes = ["-".join(parts[:length]) + "-." + kind for length in range(len(parts) - 1, 0, -1)]
    return [*_file_names(name), *prefixes, kind]


def text(root: Root, path: str, names: tuple[str, ...]) -> str:
    """Return a unit file and its drop-ins as one text, as `systemctl cat` does."""
    # The blank line keeps a file that ends with a backslash from swallowing the next one's first line.
    return "\n\n".join(root.text(one) or "" for one in (path, *names) if one)


def enablement(root: Root, name: str) -> str:
    """Return what `systemctl is-enabled` would say from files and links alone."""
    path = fragment(root, name)
    if not path:
        return "not-found"
    runtime = "-runtime" if path.startswith("/run/") else ""
    if is_masked(root, path):
        return f"masked{runtime}"
    unit_text = root.text(path) or ""
    wanted = {link for link, _ in install_links(name, unit_text, path)}
    # Links in the packages' own folders start a unit too, but do not make it "enabled" (seen with systemd 252).
    for folder, word in ((SEARCH[0], "enabled"), (SEARCH[1], "enabled-runtime")):
        if any(_points_here(root, link, name) for link in _pulled(root, folder, wanted)):
            return word
    return _linked(root, path, name) or ("disabled" if wanted else "indirect" if also(unit_text) else "static")


def _linked(root: Root, path: str, name: str) -> str:
    """Return alias or linked for a unit file that is a link to another name or another place."""
    folder, _, file = _link(root, path).rpartition("/")
    if not file or not path.startswith(SEARCH[:2]):
        return ""
    if file not in _file_names(name):
        return "alias"
    elsewhere = folder.startswith("/") and folder not in SEARCH
    return "" if not elsewhere else "linked-runtime" if path.startswith("/run/") else "linked"


def _pulled(root: Root, folder: str, wanted: set[str]) -> Iterator[str]:
    """Yield the paths below one of the search folders where a link could enable the unit."""
    pulling = (entry for entry in root.listdir(folder) if entry.endswith(_PULLING))
    yield from (f"{folder}/{entry}/{link}" for entry in pulling for link in root.listdir(f"{folder}/{entry}"))
    yield from (link.replace(SEARCH[0], folder, 1) for link in wanted if link.count("/") == SEARCH[0].count("/") + 1)


def pulled_in(root: Root) -> frozenset[str]:
    """Return the names of all units that another unit starts through a link in the search folders."""
    return frozenset(link.rpartition("/")[2] for folder in SEARCH for link in _pulled(root, folder, set()))


def _points_here(root: Root, link: str, name: str) -> bool:
    target = _link(root, link)
    return bool(target) and name in (link.rpartition("/")[2], target.rpartition("/")[2])


def preset(root: Root, name: str) -> str:
    """Return "enabled" or "disabled": what the distro's presets want (systemd.preset(5))."""
    files: dict[str, str] = {}
    for folder in _PRESETS:
        for file in root.listdir(folder):
            if file.endswith(".preset"):
                files.setdefault(file, f"{folder}/{file}")
    for file in sorted(files):
        for line in (root.text(files[file]) or "").splitlines():
            verb, *patterns = line.split() or [""]
            if verb in ("enable", "disable", "ignore") and patterns and fnmatch.fnmatchcase(name, patterns[0]):
                return f"{verb.removesuffix('e')}ed"
    return "enabled"
