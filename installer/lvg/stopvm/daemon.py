"""libvirt's daemon on this host: whether it lives, whether it answers, and its end if it hangs."""

import os
import subprocess
from pathlib import Path

from . import hostdown
from .notify import Notifier
from .programs import trusted
from .report import Report

DAEMONS = ("libvirtd", "virtqemud")
KILLED_WITHIN = 10.0  # seconds
_ANSWERS_WITHIN = 8.0  # seconds; less than notify.EXTEND_BY
_UNITS = tuple(f"{name}.service" for name in DAEMONS)
_ROOT = Path("/")


def daemon_runs(root: Path = _ROOT) -> bool:
    """True if a libvirt daemon that may hold monitors of this host's guests lives."""
    return any(map(_is_daemon, (root / "proc").glob("[0-9]*/status")))


def _is_daemon(status: Path) -> bool:
    """True for the host's own daemon: not for a user's, and not for one in a container."""
    try:
        fields = dict(line.partition(":")[::2] for line in status.read_text(errors="replace").splitlines())
    except OSError:
        return False  # it ended while we looked
    if fields.get("Name", "").strip() not in DAEMONS or fields.get("State", "").strip().startswith(("Z", "X")):
        return False
    return fields.get("Uid", "").split()[:1] == ["0"] and len(fields.get("NSpid", "").split()) < 2


def kill() -> None:
    """Ask systemd to kill the daemon: for that we need no right of our own, and it takes no other process with it."""
    hostdown.ask_systemd(["kill", "--kill-who=main", "--signal=SIGKILL", *_UNITS], KILLED_WITHIN)


def end_if_silent(report: Report, notifier: Notifier, root: Path = _ROOT) -> None:
    """Kill a daemon that hangs while the host goes down with no guest: libvirt-guests would wait for it without end."""
    notifier.extend()
    if daemon_runs(root) and not _answers():
        notifier.extend()
        report.err("the libvirt daemon does not answer, and libvirt-guests would wait for it: it is killed")
        kill()


def _answers() -> bool:
    """False if libvirt leaves the question open that libvirt-guests asks first; an error is an answer, too."""
    try:
        subprocess.run(
            [trusted("virsh"), "--connect", "qemu:///system", "connect"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/"},
            timeout=_ANSWERS_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    except (OSError, subprocess.SubprocessError):
        return True
    return True
