"""The QEMU processes of this host and the scopes that systemd keeps them in, from /proc alone."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

# The names of the distributions' programs: qemu-system-x86_64 and the like, and EL's qemu-kvm.
_QEMU = re.compile(r"qemu-(?:system-\S+|kvm)|kvm")
_SCOPE = re.compile(r"/([^/\n]+\.scope)(?:/|$)", re.MULTILINE)


def scopes(proc: Path = Path("/proc")) -> dict[int, str]:
    """Return the machine's scope of each QEMU process by pid, "" for a process that is in none."""
    found = {}
    for folder in proc.iterdir():
        if folder.name.isdigit() and _is_qemu(folder):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found[int(folder.name)] = scope_in((folder / "cgroup").read_text("utf-8", "surrogateescape"))
    return found


def scope_in(text: str) -> str:
    """Return the scope in the text of /proc/PID/cgroup, v1 or v2; "" if there is none (cgroups(7))."""
    found = _SCOPE.findall(text)
    return found[0] if found else ""


def _is_qemu(folder: Path) -> bool:
    """A process of the kernel has no program; a deleted one is told so behind its name."""
    with contextlib.suppress(OSError):
        name = os.readlink(folder / "exe").removesuffix(" (deleted)").rpartition("/")[2]
        return bool(_QEMU.fullmatch(name))
    return False
