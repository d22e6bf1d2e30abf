"""What a guest's live definition says, and what in it stands against a save. Pure.

What libvirt saves is what QEMU could migrate (qemuMigrationSrcIsAllowed in libvirt's qemu_migration.c).
"""

import xml.etree.ElementTree as ET  # documents with a DTD, and so with entities, are refused
from collections.abc import Iterator
from dataclasses import dataclass

_AGENT = "org.qemu.guest_agent.0"
_PCS = ("x86_64", "i686")  # elsewhere a guest without ACPI has another power button
_VIRTIOFS_MAY_BE_SAVED = 10_006_000  # from this libvirt on it depends on the file system's daemon
HOST_DEVICE, HOST_NETWORK = "it has a host device", "it has a network device of the host"


@dataclass(frozen=True)
class Definition:
    """Facts as in Guest. `agent` is the state of the agent's channel, "" if it has none; `wrong` says what is wrong."""

    wrong: str = ""
    memory: float = 0.0
    agent: str = ""
    on_poweroff: str = "destroy"
    acpi: bool = True
    hostdev: bool = False
    cannot_save: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    block_jobs: tuple[str, ...] = ()
    emulator: str = ""


def read(text: str, version: int = 0) -> Definition:
    """Read a live definition from a libvirt of this version."""
    if "<!DOCTYPE" in text:
        return Definition(wrong="it has a document type")
    try:
        tree = ET.fromstring(text)  # noqa: S314
    except (ET.ParseError, ValueError) as error:  # a text that is none
        return Definition(wrong=str(error) if text else "it is longer than any of libvirt's")
    return Definition(
        memory=_memory(tree),
        agent=_agent(tree),
        on_poweroff=tree.findtext("on_poweroff") or "destroy",
        acpi=_has_acpi(tree),
        hostdev=tree.find(".//hostdev") is not None,
        cannot_save=tuple(dict.fromkeys(_against_save(tree, version))),
        disks=tuple(filter(None, (_source(disk) for disk in _disks(tree)))),
        block_jobs=tuple(_attribute(disk, "target", "dev") for disk in _disks(tree) if disk.find("mirror") is not None),
        emulator=tree.findtext("devices/emulator") or "",
    )


def _memory(tree: ET.Element) -> float:
    try:
        return int(tree.findtext("currentMemory") or tree.findtext("memory") or "0") / 1024  # libvirt writes KiB
    except ValueError:
        return 0.0


def _agent(tree: ET.Element) -> str:
    targets = tree.findall(f"devices/channel/target[@name='{_AGENT}']")
    states = [target.get("state", "disconnected") for target in targets]
    return "connected" if "connected" in states else states[0] if states else ""


def _has_acpi(tree: ET.Element) -> bool:
    """True if the guest has a power button, as far as the definition tells."""
    qemu_pc = tree.get("type") in ("kvm", "qemu") and _attribute(tree, "os/type", "arch") in _PCS
    return not qemu_pc or tree.find("features/acpi") is not None


def _against_save(tree: ET.Element, version: int) -> Iterator[str]:
    if tree.find("devices/hostdev") is not None:
        yield HOST_DEVICE
    if tree.find("devices/interface[@type='hostdev']") is not None:
        yield HOST_NETWORK
    if tree.find("devices/interface[@type='vdpa']") is not None:
        yield "it has a vDPA device"
    for filesystem in tree.iterfind("devices/filesystem"):
        driver = _attribute(filesystem, "driver", "type") or "path"
        if driver == "virtiofs" and version < _VIRTIOFS_MAY_BE_SAVED:
            yield "it has a virtiofs file system"
        elif driver in ("path", "handle") and tree.get("type") in ("kvm", "qemu"):
            yield "it has a 9p file system"
    if any(backend.get("type") in ("external", "passthrough") for backend in tree.iterfind("devices/tpm/backend")):
        yield "it has a TPM that libvirt cannot save"
    invtsc = tree.find("cpu/feature[@policy='require'][@name='invtsc']")
    if invtsc is not None and tree.find("clock/timer[@name='tsc'][@frequency]") is None:
        yield "its CPU has the feature invtsc"


def _disks(tree: ET.Element) -> list[ET.Element]:
    """Return what holds the guest's data: no CDs and floppies."""
    return [disk for disk in tree.iterfind("devices/disk") if disk.get("device", "disk") in ("disk", "lun")]


def _source(disk: ET.Element) -> str:
    source = disk.find("source")
    if source is None:
        return ""
    if protocol := source.get("protocol"):
        return f"{protocol}:{source.get('name', '')}"
    if pool := source.get("pool"):
        return f"volume:{pool}/{source.get('volume', '')}"
    return next((path for key in ("file", "dev", "dir", "path") if (path := source.get(key))), "")


def _attribute(element: ET.Element, path: str, name: str) -> str:
    found = element.find(path)
    return "" if found is None else found.get(name, "")
