"""Where lvg's own files go. One place, so that code, tests and man pages can agree.

A distro package ships the program and the units in the vendor's folders; a local install (pip or
checkout) puts them where an admin's own things belong, which also works with a read-only /usr.
"""

from collections.abc import Iterable

STATE_DIR = "/var/lib/lvg"
RECORD = f"{STATE_DIR}/applied.json"
LOCK = f"{STATE_DIR}/lock"
HISTORY_DIR = f"{STATE_DIR}/history"
REPLACED_DIR = f"{STATE_DIR}/replaced"  # edited files that a forced undo replaced

CONFIG_DIR = "/etc/lvg"
POLICY = f"{CONFIG_DIR}/policy.json"
OVERLAY = f"{CONFIG_DIR}/libvirt-guests"

LOCAL_PROGRAM = "/usr/local/bin/stopvm"
PACKAGED_PROGRAM = "/usr/bin/stopvm"

UNIT_DIR = "/etc/systemd/system"

GUEST_DEFINITIONS = "/etc/libvirt/qemu"
GUEST_LIST = "/var/lib/libvirt/libvirt-guests"  # libvirt-guests writes it when it stops

OPENRC_SCRIPT = "/etc/init.d/libvirt-guests"
OPENRC_LINK = "/etc/runlevels/default/libvirt-guests"
OPENRC_LIST = "/var/lib/libvirt/libvirt-guests.state"  # what that service's next start starts
STOP_SCRIPT = "/etc/init.d/graceful-shutdown"
STOP_LINK = "/etc/runlevels/default/graceful-shutdown"


def dropin_path(unit: str, name: str) -> str:
    """Return the path of a drop-in of ours for `unit`."""
    return f"{UNIT_DIR}/{unit}.d/{name}"


def unit_path(unit: str) -> str:
    """Return the path of a unit of ours in a local install."""
    return f"{UNIT_DIR}/{unit}"


def touches_units(paths: Iterable[str]) -> bool:
    """True if any of `paths` is one that systemd has to read anew."""
    return any(path.startswith(f"{UNIT_DIR}/") for path in paths)


def is_ours(data: bytes) -> bool:
    """True if a file says in its first lines that lvg-install wrote it."""
    if data.startswith(b"{"):
        return b"lvg-install writes this file" in data[:4096]
    return any(line.startswith(b"# Installed by lvg-install") for line in data[:4096].split(b"\n")[:4])
