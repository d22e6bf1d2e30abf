"""Whether the host is really going down, and whether any guest runs on it."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import plainfile
from .programs import trusted

_ANSWER_WITHIN = 8.0  # seconds; no answer counts as no shutdown, and libvirt-guests acts in a real one
_LOCAL_QEMU = ("qemu:///system", "qemu+unix:///system")
# The runlevels that end OpenRC's multi-user work; "off" and "recovery" are Debian's. In single-user mode OpenRC stops
# libvirt-guests too, which would switch off what does not end in time: so stopvm comes first there as well.
_OPENRC_DOWN = ("shutdown", "reboot", "single", "off", "recovery")


def going_down(root: Path = Path("/")) -> tuple[bool, str]:
    """Return whether the host really goes down now, and what its init says."""
    if runs_openrc(root):
        level = openrc_leaves_for(root)
        said = f'OpenRC changes to runlevel "{level}"' if level else "OpenRC stops no services"
        return level in _OPENRC_DOWN, said
    state = system_state()
    return state == "stopping", f'systemd says "{state}"' if state else "systemd gave no answer"


def runs_openrc(root: Path = Path("/")) -> bool:
    """True if OpenRC manages the services of this host."""
    return (root / "run/openrc").is_dir() and not (root / "run/systemd/system").is_dir()


def start_command(root: Path = Path("/")) -> str:
    """Return how an admin starts our service here."""
    openrc = runs_openrc(root)
    return "rc-service graceful-shutdown start" if openrc else "systemctl start graceful-shutdown.service"


def openrc_leaves_for(root: Path = Path("/")) -> str:
    """Return the runlevel for which OpenRC stops services now, "" if it stops none (rc.c).

    The folder rc.stopping exists just then. The openrc at work ($RC_PID) names the level on its command line;
    the file softlevel has "shutdown" and "single" before the first service is stopped, but other levels after the last.
    """
    folder = root / "run/openrc"
    if not (folder / "rc.stopping").is_dir():
        return ""
    words = _read(root / "proc" / os.environ.get("RC_PID", "none") / "cmdline").strip("\0").split("\0")
    if len(words) > 1 and Path(words[0]).name in ("openrc", "rc"):
        return words[-1]
    return _read(folder / "softlevel").strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def system_state() -> str:
    """Return what `systemctl is-system-running` says, or "" without an answer.

    It is "stopping" inside ExecStop= of a poweroff, reboot, halt or kexec, and at no other time.
    """
    return ask_systemd(["is-system-running"], _ANSWER_WITHIN)


def ask_systemd(words: Sequence[str], within: float) -> str:
    """Return what `systemctl` says to these words, or "" without an answer `within` so many seconds."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [trusted("systemctl"), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=within,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def is_local_qemu(uri: str, root: Path = Path("/")) -> bool:
    """True if `uri` can only mean the QEMU system driver of this host; "default" is what libvirt.conf and Xen leave."""
    if uri in _LOCAL_QEMU:
        return True
    return uri == "default" and not _default_is_set(root) and not (root / "proc/xen").exists()


def _default_is_set(root: Path) -> bool:
    if root == Path("/") and os.geteuid() != 0:
        return True  # to that user's own session driver, or by a libvirt.conf in their home
    if any(os.environ.get(key) for key in ("LIBVIRT_DEFAULT_URI", "VIRSH_DEFAULT_CONNECT_URI")):
        return True
    try:
        lines = plainfile.text(root / "etc/libvirt/libvirt.conf").splitlines()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return any(line.strip().startswith("uri_default") for line in lines)


def local_guests(root: Path = Path("/")) -> tuple[str, ...]:
    """Return the names that libvirt's QEMU driver left pid files for: they run, or died with the daemon away."""
    folder = root / "run/libvirt/qemu"
    names = sorted(path.stem for path in folder.glob("*.pid"))
    # driver.pid is the daemon's own, unless a guest of that name has its state there too.
    return tuple(name for name in names if name != "driver" or (folder / "driver.xml").exists())


def nothing_runs(uris: Iterable[str], root: Path = Path("/")) -> bool:
    """True if it is certain, without libvirt, that no guest runs.

    Only if every URI is the local QEMU driver and there is no pid file, no machine scope and no process of a guest.
    """
    if not all(is_local_qemu(uri, root) for uri in uris):
        return False
    return not local_guests(root) and not _machine_scopes(root) and not _guest_processes(root)


def _machine_scopes(root: Path) -> bool:
    folders = (root / "sys/fs/cgroup/machine.slice", root / "sys/fs/cgroup/systemd/machine.slice")
    return any(any(folder.glob("*.scope")) for folder in folders)


def _guest_processes(root: Path) -> bool:
    for path in (root / "proc").glob("[0-9]*/comm"):
        try:
            name = path.read_text(errors="replace").strip()
        except OSError:
            continue  # it ended while we looked
        if name.startswith(("qemu", "libvirt_lxc")) or name == "kvm":  # "default" is LXC where there is no QEMU
            return True
    return False
