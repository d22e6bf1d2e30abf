"""Real guests with a known temper, and what their serial ports tell about them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from machine import Machine

UP_SECONDS = 90
XML = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>/srv/guest/vmlinuz</kernel>
    <initrd>/srv/guest/{initramfs}</initrd>
    <cmdline>console=ttyS0 quiet nokaslr mitigations=off {options}</cmdline>
  </os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <devices>
    <serial type='file'><source path='/var/log/guests/{name}.log' append='on'/></serial>
    <controller type='usb' model='none'/>
{channel}    <memballoon model='none'/>
  </devices>
</domain>
"""
CHANNEL = """\
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
"""


@dataclass(frozen=True)
class Guest:
    """A guest that needs `shutdown` seconds to go down, reacts to press number `presses` only, or never (`deaf`).

    With `agent` it runs the guest agent, which shuts it down however deaf it is to the power button.
    """

    name: str
    shutdown: int = 1
    presses: int = 1
    deaf: bool = False
    agent: bool = False
    memory: int = 96

    def xml(self) -> str:
        options = f"guest.shutdown={self.shutdown} guest.presses={self.presses} guest.deaf={int(self.deaf)}"
        return XML.format(
            name=self.name,
            memory=self.memory,
            options=options + f" guest.agent={int(self.agent)}",
            initramfs="initramfs-agent" if self.agent else "initramfs",
            channel=CHANNEL if self.agent else "",
        )


@dataclass(frozen=True)
class Serial:
    """What a guest wrote to its serial port (since a mark, if one was given)."""

    text: str

    @property
    def booted(self) -> list[str]:
        """The boot id of every boot, in order."""
        return re.findall(r"guest: up (\S+)", self.text)

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
    def ended(self) -> list[str]:
        """The boot ids that ended by themselves."""
        return re.findall(r"guest: ends by itself (\S+)", self.text)


def serial(machine: Machine, name: str, mark: int = 0) -> Serial:
    return Serial(machine.serial(name)[mark:])


def mark(machine: Machine, name: str) -> int:
    """Where a guest's serial log ends now; give it to `serial` to see only what comes after."""
    return len(machine.serial(name))


def define(machine: Machine, *guests: Guest) -> None:
    for guest in guests:
        (machine.root / "srv" / f"{guest.name}.xml").write_text(guest.xml(), encoding="utf-8")
        machine.run(f"virsh -q define /srv/{guest.name}.xml")


def start(machine: Machine, *names: str) -> dict[str, str]:
    """Start guests and wait until each is up. Returns the boot id of each."""
    marks = {name: mark(machine, name) for name in names}
    machine.run("; ".join(f"virsh -q start {name} || exit 1" for name in names))
    return {name: wait_alive(machine, name, marks[name]) for name in names}


def wait_alive(machine: Machine, name: str, since: int | None = None, seconds: float = UP_SECONDS) -> str:
    """Wait for a sign of life that is newer than `since` (default: now). Returns the boot id it gives."""
    since = mark(machine, name) if since is None else since
    machine.wait_for(lambda: serial(machine, name, since).alive, seconds, f"a sign of life from {name}")
    return serial(machine, name, since).alive[-1]


def running(machine: Machine) -> set[str]:
    """Names of the guests that libvirt says are running."""
    return set(machine.run("virsh -q list --name --state-running").stdout.split())


def saved(machine: Machine) -> set[str]:
    """Names of the guests with a managed save image."""
    return set(machine.run("virsh -q list --name --all --with-managed-save").stdout.split())
