"""The version of the installed libvirt, from the name of its library."""

import os
import re

from lvg.files import Root

_NAME = re.compile(r"libvirt\.so\.0\.(\d+)\.(\d+)")


def libvirt_version(root: Root) -> str:
    """Return "11.3.0" for a host with libvirt.so.0.11003.0 in one of its library folders, else ""."""
    multiarch = [f"/usr/lib/{name}" for name in root.listdir("/usr/lib") if "-linux-" in name]
    folders = [*multiarch, "/usr/lib64", "/usr/lib", "/lib64", "/lib"]
    linked = next(filter(None, (_linked_name(root, folder) for folder in folders)), "")
    return version_of(linked or next((file for folder in folders for file in _real_names(root, folder)), ""))


def _linked_name(root: Root, folder: str) -> str:
    try:
        return os.readlink(root.real(f"{folder}/libvirt.so.0", follow_last=False))
    except OSError:
        return ""


def _real_names(root: Root, folder: str) -> list[str]:
    return [name for name in root.listdir(folder) if _NAME.fullmatch(name)]


def version_of(name: str) -> str:
    """Return the version in a library's file name: 9000.0 is 9.0.0, 11003.2 is 11.3.2, 10.2 is 0.10.2."""
    found = _NAME.search(name)
    if not found:
        return ""
    major, minor = divmod(int(found[1]), 1000)
    return f"{major}.{minor}.{found[2]}"
