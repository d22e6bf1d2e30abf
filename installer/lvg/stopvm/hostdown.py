"""Whether the host is really going down, and whether any guest runs on it."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_ANSWER_WITHIN = 3.0  # seconds; no answer counts as no shutdown, and libvirt-guests acts in a real one
_LOCAL_QEMU = ("qemu:///system", "qemu+unix:///system")


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
            ["systemctl", *words],
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
    if any(os.environ.get(key) for key in ("LIBVIRT_DEFAULT_URI", "VIRSH_DEFAULT_CONNECT_URI")):
        return True
    try:
        lines = (root / "etc/libvirt/libvirt.conf").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return False
    except OSError:
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

    Only if every URI is the local QEMU driver and there is no pid file, no machine scope and no QEMU process.
    """
    if not all(is_local_qemu(uri, root) for uri in uris):
        return False
    return not local_guests(root) and not _machine_scopes(root) and not _qemu_processes(root)


def _machine_scopes(root: Path) -> bool:
    folders = (root / "sys/fs/cgroup/machine.slice", root / "sys/fs/cgroup/systemd/machine.slice")
    return any(any(folder.glob("*.scope")) for folder in folders)


def _qemu_processes(root: Path) -> bool:
    for path in (root / "proc").glob("[0-9]*/comm"):
        try:
            name = path.read_text(errors="replace").strip()
        except OSError:
            continue  # it ended while we looked
        if name.startswith("qemu") or name == "kvm":
            return True
    return False
