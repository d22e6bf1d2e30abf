"""The list of guests that libvirt-guests leaves for its next start, when it is stale.

While that file exists, a stop of libvirt-guests does nothing at all, silently: "last stop was not
followed by start". Its start takes the list and removes it, so what is there afterwards is stale.
"""

import time
from pathlib import Path

from .hostdown import ask_systemd, runs_openrc
from .report import Report

LIST = Path("/var/lib/libvirt/libvirt-guests")
_ANSWER_WITHIN = 5.0  # seconds
_AGAIN_AFTER = 3.0  # seconds
_WAIT_AT_MOST = 300.0  # seconds that the start of libvirt-guests may still need for its list


def guests_state(root: Path = Path("/")) -> str:
    """Return ActiveState/SubState of libvirt-guests.service ("active/exited"), "" without an answer.

    OpenRC says less, and that in the same words: a service that has started is "active/exited".
    """
    if runs_openrc(root):
        return "active/exited" if (root / "run/openrc/started/libvirt-guests").exists() else ""
    said = ask_systemd(["show", "--property=ActiveState,SubState", "libvirt-guests.service"], _ANSWER_WITHIN)
    if not said:
        return ""
    found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return f"{found.get('ActiveState', '')}/{found.get('SubState', '')}"


def still_starting(path: Path = LIST) -> bool:
    """True if there is a list and libvirt-guests may still be starting what is on it (it is Type=exec since 2026)."""
    return path.exists() and guests_state() in ("active/running", "activating/start")


def wait_and_move(report: Report, path: Path = LIST) -> Path | None:
    """Move a stale list aside, after the start of libvirt-guests is through; blocks for minutes at most."""
    end = time.monotonic() + _WAIT_AT_MOST
    while still_starting(path) and time.monotonic() < end:
        time.sleep(_AGAIN_AFTER)
    return move_aside(report, path)


def move_aside(report: Report, path: Path = LIST) -> Path | None:
    """Move the list aside if libvirt-guests has started and left it; return where it is now."""
    if not path.exists() or guests_state() != "active/exited":
        return None
    aside = path.with_name(f"{path.name}.lvg-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    try:
        path.rename(aside)
    except OSError as error:
        report.err(f"{path} is stale and keeps libvirt-guests from stopping guests; it cannot be moved: {error}")
        return None
    report.warning(f"{path} was stale and kept libvirt-guests from stopping guests; it is {aside} now")
    return aside
