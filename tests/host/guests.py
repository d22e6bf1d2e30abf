"""Real guests with a known temper, and what their serial ports tell about them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import ledger
from machine import Machine

IMAGES = "var/lib/libvirt/images"
WHOLE_IMAGE = b"LibvirtQemudSave"  # a saved guest's file begins with something else until all is written
XML = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>/srv/guest/vmlinuz</kernel>
    <initrd>/srv/guest/{initramfs}</initrd>
    <cmdline>console=ttyS0 quiet nokaslr mitigations=off no_timer_check {options}</cmdline>
  </os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
{on_crash}  <devices>
    <serial type='file'><source path='/var/log/guests/{name}.log' append='on'/></serial>
    <controller type='usb' model='none'/>
{devices}    <memballoon model='none'/>
  </devices>
</domain>
"""
CHANNEL = """\
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
"""
DISK = """\
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/{name}.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
"""
PANIC = """\
    <panic model='isa'/>
"""


@dataclass(frozen=True)
class Guest:
    """A guest that needs `shutdown` seconds to go down, reacts to press number `presses` only, or never (`deaf`).

    With `agent` it runs the guest agent, which shuts it down however deaf it is to the power button; a "frozen" one
    answers nobody, one that "hangs" takes a shutdown and does nothing, one that "refuses" answers it with an error.
    With `disk` it has a disk of its own, and writes to it until it goes down. Its kernel panics at sign of life number
    `panic`, and the guest is then kept.
    """

    name: str
    shutdown: int = 1
    presses: int = 1
    deaf: bool = False
    agent: bool | Literal["frozen", "hangs", "refuses"] = False
    disk: bool = False
    panic: int = 0
    memory: int = 96

    def xml(self) -> str:
        return XML.format(
            name=self.name,
            memory=self.memory,
            options=self._options(),
            initramfs="initramfs-agent" if self.agent else "initramfs",
            on_crash="  <on_crash>preserve</on_crash>\n" if self.panic else "",
            devices=(CHANNEL if self.agent else "")
            + (DISK.format(name=self.name) if self.disk else "")
            + (PANIC if self.panic else ""),
        )

    def _options(self) -> str:
        agent = self.agent if isinstance(self.agent, str) else int(self.agent)
        values = {"shutdown": self.shutdown, "presses": self.presses, "deaf": int(self.deaf), "agent": agent}
        values |= {"disk": int(self.disk), "panic": self.panic}
        return " ".join(f"guest.{key}={value}" for key, value in values.items())


@dataclass(frozen=True)
class Serial:
    """What a guest wrote to its serial port (since a mark, if one was given)."""

    text: str

    @property
    def booted(self) -> list[str]:
        """The boot id of every boot, in order."""
        return re.findall(r"guest: up (\S+)\s", self.text)

    @property
    def alive(self) -> list[str]:
        """The boot id of every sign of life, in order."""
        return re.findall(r"guest: alive (\S+) \d+", self.text)

    @property
    def presses(self) -> int:
        """How often it saw its power button pressed."""
        return len(re.findall(r"guest: press \d+", self.text))

    @property
    def agent_asked(self) -> int:
        """How often its agent was asked to shut it down."""
        return len(re.findall(r"guest: agent asked", self.text))

    @property
    def marks(self) -> list[str]:
        """The names of the files that were in its folder /marks when it began to go down."""
        return re.findall(r"guest: mark (\S+)", self.text)

    @property
    def ended(self) -> list[str]:
        """The boot ids that ended by themselves."""
        return re.findall(r"guest: ends by itself (\S+)\s", self.text)


def serial(machine: Machine, name: str, mark: int = 0) -> Serial:
    return Serial(machine.serial(name)[mark:])


def mark(machine: Machine, name: str) -> int:
    """Where a guest's serial log ends now; give it to `serial` to see only what comes after."""
    return len(machine.serial(name))


def log_by_virtlogd(machine: Machine) -> None:
    """Let guests' logs be written as by default: by virtlogd, which these hosts do without else."""
    conf = machine.root / "etc/libvirt/qemu.conf"
    conf.write_text(conf.read_text().replace('stdio_handler = "file"', 'stdio_handler = "logd"'))
    machine.run("systemctl restart libvirtd")


def define(machine: Machine, *guests: Guest) -> None:
    for guest in guests:
        if guest.disk:
            shutil.copy(machine.root / "srv/guest/disk.qcow2", machine.root / IMAGES / f"{guest.name}.qcow2")
        (machine.root / "srv" / f"{guest.name}.xml").write_text(guest.xml(), encoding="utf-8")
        machine.run(f"virsh -q define /srv/{guest.name}.xml")


def start(machine: Machine, *names: str) -> dict[str, str]:
    """Start guests and wait until each is up. Returns the boot id of each."""
    marks = {name: mark(machine, name) for name in names}
    machine.run("; ".join(f"virsh -q start {name} || exit 1" for name in names))
    return {name: wait_alive(machine, name, marks[name]) for name in names}


def wait_alive(machine: Machine, name: str, since: int | None = None) -> str:
    """Wait for a sign of life that is newer than `since` (default: now), and for the agent. Returns the boot id."""
    since = mark(machine, name) if since is None else since
    machine.wait_for(lambda: serial(machine, name, since).alive, f"a sign of life from {name}")
    if CHANNEL in (machine.root / "srv" / f"{name}.xml").read_text():
        machine.wait_for(lambda: agent_connected(machine, name), f"the agent of {name}")
    return serial(machine, name, since).alive[-1]


def agent_connected(machine: Machine, name: str) -> bool:
    return "state='connected'" in machine.run(["virsh", "dumpxml", name]).stdout


def running(machine: Machine) -> set[str]:
    """Names of the guests that libvirt says are running."""
    return set(machine.run("virsh -q list --name --state-running").stdout.split())


def saved(machine: Machine) -> set[str]:
    """Names of the guests with a managed save image."""
    return set(machine.run("virsh -q list --name --all --with-managed-save").stdout.split())


def check_disks(machine: Machine, *names: str, forced: Iterable[str] = (), scenario: str = "") -> None:
    """Look at guests' disks, with the machine off: all are clean. A disk of those that were `forced` may be unclean.

    `scenario`: which mark of the test it is about, if it has several, or if this is called for several tests.
    """
    unclean = [name for name in names if not disk_is_clean(machine, name, scenario)]
    assert not unclean, f"the disks of {unclean} are not clean"
    for name in forced:
        clean = disk_is_clean(machine, name, scenario)
        assert clean or verdict(machine, name) in ledger.EXCUSED, f"nobody says why the disk of {name} is not clean"


def verdict(machine: Machine, name: str) -> str:
    """Return how a guest ended, by stopvm's history; "saved" if there is a whole image of it, whoever saved it."""
    image = machine.root / f"var/lib/libvirt/qemu/save/{name}.save"
    if image.exists():
        with image.open("rb") as file:
            return "saved" if file.read(len(WHOLE_IMAGE)) == WHOLE_IMAGE else "half saved"
    return ledger.last_verdict(machine.root, name)


def disk_is_clean(machine: Machine, name: str, scenario: str = "") -> bool:
    """Look at a guest's disk, with the machine off: True if its file system was unmounted and has no errors.

    It is noted in the ledger; `scenario` as in check_disks.
    """
    assert not machine.on
    clean = _is_clean(machine, name)
    ledger.disk(machine.root, name, clean=clean, verdict=verdict(machine, name), scenario=scenario)
    return clean


def _is_clean(machine: Machine, name: str) -> bool:
    definition = machine.root / f"etc/libvirt/qemu/{name}.xml"
    defined = definition.read_text() if definition.exists() else ""  # none if the guest was transient
    source = re.search(r"<source file='([^']+)'", defined)
    image = source[1] if source else f"/{IMAGES}/{name}.qcow2"
    raw = machine.root / f"var/tmp/{name}.raw"
    # An image may name another one that it stands upon, by a path of the machine's.
    convert = 'mount --bind "$1" /var && qemu-img convert -O raw "$2" "$3"'
    argv = ["unshare", "--mount", "sh", "-c", convert, "sh", str(machine.root / "var"), image, f"/var/tmp/{raw.name}"]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    done = subprocess.run(["e2fsck", "-fn", str(raw)], capture_output=True, text=True, check=False)
    raw.unlink()
    return done.returncode == 0 and "journal recovery" not in done.stdout + done.stderr
