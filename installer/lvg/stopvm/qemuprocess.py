"""The QEMU processes that libvirt's system daemon started, from what it leaves on the disk while it is gone.

/run/libvirt/qemu holds a pid file of each guest, and a state file (qemu_domain.c, virDomainObjSave) with the path of
its monitor, its live XML, and the job that libvirtd was at.
"""

import re
import xml.etree.ElementTree as ET  # only root can write the files that are read with it
from dataclasses import dataclass
from pathlib import Path

from . import hostdown
from .ending import ROOT

_AGENT = "org.qemu.guest_agent.0"
_SHORT_NAME = 20  # characters of the name that libvirt puts into the name of a guest's folder


@dataclass(frozen=True)
class Process:
    """A guest's QEMU. `job`: what libvirtd was doing with it (qemuDomainAsyncJob), "none" for nothing."""

    name: str
    uuid: str
    monitor: Path
    agent: Path | None = None
    agent_is_up: bool = False
    hostdev: bool = False
    persistent: bool = True
    job: str = "none"


def find(root: Path = ROOT) -> list[Process]:
    """Return the processes that live, one for each guest."""
    return [process for name in hostdown.local_guests(root) if (process := _process(name, root))]


def _process(name: str, root: Path) -> Process | None:
    folder = root / "run/libvirt/qemu"
    try:
        command = (root / f"proc/{int((folder / f'{name}.pid').read_text())}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    persistent = (root / f"etc/libvirt/qemu/{name}.xml").exists()
    found: Process | None
    try:
        found = described((folder / f"{name}.xml").read_text(errors="replace"), root, persistent)
    except (OSError, ValueError):
        found = _by_folder(name, command, root, persistent)
    return found if found and found.uuid.encode() in command else None  # a pid is used again


def described(text: str, root: Path, persistent: bool) -> Process:
    """Read a state file. Raises ValueError."""
    try:
        tree = ET.fromstring(text)  # noqa: S314
    except ET.ParseError as error:
        raise ValueError(str(error)) from None
    monitor, job = tree.find("monitor"), tree.find("job")
    name, uuid = tree.findtext("domain/name"), tree.findtext("domain/uuid")
    if monitor is None or not name or not uuid:
        raise ValueError("no state of a guest")
    target = tree.find(f"domain/devices/channel/target[@name='{_AGENT}']")
    source = tree.find(f"domain/devices/channel/target[@name='{_AGENT}']/../source[@path]")
    return Process(
        name,
        uuid,
        _below(root, monitor.get("path", "")),
        None if source is None else _below(root, source.get("path", "")),
        target is not None and target.get("state") == "connected",
        tree.find("domain/devices/hostdev") is not None,
        persistent,
        "none" if job is None else job.get("async", "none"),
    )


def _by_folder(name: str, command: bytes, root: Path, persistent: bool) -> Process | None:
    """Return what is known without a usable state file; None if even the monitor is not."""
    words = command.split(b"\0")
    uuid = words[words.index(b"-uuid") + 1].decode(errors="replace") if b"-uuid" in words[:-1] else ""
    sockets = (root / "var/lib/libvirt/qemu").glob("domain-*/monitor.sock")
    its_own = re.compile(rf"domain-\d+-{re.escape(name[:_SHORT_NAME])}", re.ASCII)  # the number is libvirt's id of it
    found = [path for path in sockets if its_own.fullmatch(path.parent.name)]
    return Process(name, uuid, found[0], persistent=persistent) if len(found) == 1 and uuid else None


def _below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")
