"""Which init a host runs, and what init scripts are enabled and started there.

A running host says so in /run; below a root only what is installed can tell.
"""

import os
import re
from pathlib import PurePosixPath

from lvg.files import Root

# The program that /sbin/init leads to, or that runs as process 1, and the init it belongs to.
_PROGRAMS = {
    "systemd": "systemd",
    "openrc-init": "openrc",
    "runit": "runit",
    "runit-init": "runit",
    "dinit": "other",
    "s6-svscan": "other",
    "s6-linux-init": "other",
    "shepherd": "other",
}
_INSTALLED = (
    ("/sbin/openrc", "openrc"),
    ("/sbin/openrc-run", "openrc"),
    ("/usr/bin/openrc", "openrc"),
    ("/usr/bin/openrc-run", "openrc"),
    ("/usr/lib/systemd/systemd", "systemd"),
    ("/lib/systemd/systemd", "systemd"),
    ("/etc/runit", "runit"),
    ("/etc/dinit.d", "other"),
    ("/etc/s6", "other"),
    ("/etc/inittab", "sysv"),
)


def init_of(root: Root, usual: str) -> str:
    """Return systemd, openrc, sysv, runit or other; `usual` where the host does not tell."""
    running = running_init(root) if root.live else ""
    return running or installed(root) or usual


def running_init(root: Root) -> str:
    """Return the init that runs, from what it leaves in /run and the name of process 1; "" if unknown."""
    if root.exists("/run/systemd/system"):  # sd_booted(3)
        return "systemd"
    if root.exists("/run/openrc"):
        return "openrc"
    return _PROGRAMS.get((root.text("/proc/1/comm") or "").strip(), "")


def installed(root: Root) -> str:
    """Return the init that would boot this tree, from the files in it; "" if none is there."""
    return _from_link(root) or next((init for path, init in _INSTALLED if root.exists(path)), "") or _from_service(root)


def _from_link(root: Root) -> str:
    """Return the init that /sbin/init leads to: the one that boots, when several are installed."""
    try:
        return _PROGRAMS.get(PurePosixPath(os.readlink(root.real("/sbin/init", follow_last=False))).name, "")
    except FileNotFoundError:
        return ""
    except OSError:  # no link but a program of its own: beside systemd that is sysvinit (MX Linux has both)
        return "" if root.exists("/sbin/openrc") else "sysv"


def _from_service(root: Root) -> str:
    """Return the init that the installed libvirt-guests is made for."""
    folders = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
    if any(root.exists(f"{folder}/libvirt-guests.service") for folder in folders):
        return "systemd"
    script = root.text("/etc/init.d/libvirt-guests")
    return "" if script is None else "openrc" if is_openrc(script) else "sysv"


def is_openrc(script: str) -> bool:
    """True if an init script is run by OpenRC (its first line says so)."""
    return script.startswith("#!") and script.partition("\n")[0].rstrip().endswith(("openrc-run", "runscript"))


def enabled_scripts(root: Root) -> frozenset[str]:
    """Return the names of all init scripts that OpenRC or sysvinit starts at boot."""
    levels = root.listdir("/etc/runlevels")
    names = {name for level in levels for name in root.listdir(f"/etc/runlevels/{level}")}
    folders = (f"/etc{middle}/rc{level}.d" for middle in ("", "/rc.d") for level in "2345")
    links = (link for folder in folders for link in root.listdir(folder))
    return frozenset(names | {link[3:] for link in links if re.match(r"S\d\d", link)})


def script_activity(root: Root, init: str, name: str) -> str:
    """Return "active" or "inactive" as a running OpenRC says, else "" (sysvinit keeps no record)."""
    if init != "openrc" or not root.live:
        return ""
    return "active" if root.exists(f"/run/openrc/started/{name}") else "inactive"
