"""What is known of the guests of this host before anything happens to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lvg.stopvm.decide import Facts

AgentState = Literal["none", "off", "silent", "ok", "unasked"]


@dataclass(frozen=True)
class Guest:
    """One active guest, as libvirt and its agent describe it.

    `state` is in stopvm's words: running, paused, pmsuspended, crashed or shutdown; `why` is libvirt's reason for it
    ("user", "io-error", ...). `memory` is MiB. `agent`: "none" without a channel for one, "off" with a channel that
    nobody holds open, "silent" if it does not answer, "unasked" if there was no time to ask. `agent_refuses` are the
    agent's commands that are disabled, where that was asked. `cannot_save` says what stands against a save, one reason
    each. `disks` are the sources of its disks: a path, or "rbd:pool/image" and the like for one on a network.
    `job` is what holds the guest now, "" for nothing.
    """

    uuid: str
    name: str
    uri: str = "default"
    state: str = "running"
    why: str = ""
    persistent: bool = True
    autostart: bool = False
    managed_save: bool = False
    memory: float = 0.0
    agent: AgentState = "none"
    agent_refuses: frozenset[str] = frozenset()
    os: str = ""
    job: str = ""
    on_poweroff: str = "destroy"
    acpi: bool = True
    hostdev: bool = False
    cannot_save: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    pid: int = 0  # of its QEMU process; 0 = not known, or none
    emulator: str = ""
    emulator_is_gone: bool = False  # that program is no longer there
    block_jobs: tuple[str, ...] = ()  # disks that are being copied

    @property
    def facts(self) -> Facts:
        """The same guest as stopvm sees it."""
        up = self.agent in ("ok", "silent", "unasked")
        return Facts(
            self.uuid,
            self.name,
            self.uri,
            self.state,
            self.persistent,
            up,
            self.hostdev,
            self.on_poweroff,
            self.memory,
        )


@dataclass(frozen=True)
class Answer:
    """What the libvirt at one URI said.

    `error` is "" if it answered; what was known when it fell silent is here nevertheless. `version` is the daemon's
    (9.0.0 is 9_000_000), 0 if not known. `defined` are the names of all guests, also of those that are off; `saved` of
    those that are off with a saved state, which their next start resumes. `seconds` is how long it took. Where two URIs
    mean the same libvirt, only one answer has its guests.
    """

    uri: str
    real: str = ""
    error: str = ""
    version: int = 0
    guests: tuple[Guest, ...] = ()
    defined: tuple[str, ...] = ()
    seconds: float = 0.0
    saved: tuple[str, ...] = ()


def running(answers: Iterable[Answer]) -> tuple[Guest, ...]:
    """Return all guests that are active, each once."""
    return tuple(guest for answer in answers for guest in answer.guests)
