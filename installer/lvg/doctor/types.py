"""What a check is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lvg.guests import Answer
from lvg.shutdowns import Past
from lvg.stopvm.history import Entry
from lvg.stopvm.policy import Policy
from lvg.survey import Survey
from lvg.timeline import Timeline

Severity = Literal["failure", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    `guest` is "" if it is about the host. `remedy` is a command to paste, or one line of what to do. `evidence` is what
    was seen: a file and line, a property of a unit, an answer of libvirt's.
    """

    id: str
    severity: Severity
    message: str
    remedy: str
    evidence: str = ""
    guest: str = ""


@dataclass(frozen=True)
class Qemu:
    """One QEMU process of this host that runs a machine. `guest` is the name it was given, "" for none.

    `driver`: whose it is, by the arguments that only libvirt gives: "system" (started by root's libvirt), "session"
    (by a user's) or "" (not by libvirt). `user` is the number of the user it runs as,
    `resident` the memory that it really has, in MiB.
    """

    pid: int
    guest: str
    driver: Literal["system", "session", ""]
    user: int = 0
    resident: float = 0.0


@dataclass(frozen=True)
class Settings:
    """The file of libvirt-guests: what sh reads in it. `broken` and `todo` say why sh cannot, and what to do."""

    path: str = ""
    data: bytes = b""
    values: Mapping[str, str] = field(default_factory=dict)
    broken: str = ""
    todo: str = ""


@dataclass(frozen=True)
class HostFacts:
    """Everything that the checks look at, gathered once, each with a deadline.

    `units` has the properties of systemd's units by name and property, empty without systemd. `answers` is what libvirt
    said at each URI of the policy. `timeline` is the next shutdown. `files` has the text of configuration files of
    other programs (qemu.conf, upsmon.conf, ...) by path; one that does not exist is not in it.
    `scopes` has the scope of each QEMU process of this host by pid, "" for one that is in none. `free` is the space in
    folders where guests are saved, in MiB, by path. `programs` says of what our units run, by path, if it can be run.
    `qemus` are the QEMU processes as their command lines describe them. `ups` has what upsc says of each UPS, by name.
    `stopped` are the guests that a stop by hand in this boot took down, and that are to be brought back; `cut_off` is
    the last stop of this boot, if it never came to its end.
    `libvirt_module` is False if stopvm's Python has no libvirt. `failed` says what could not be gathered, and why.
    """

    survey: Survey
    policy: Policy
    timeline: Timeline
    settings: Settings = Settings()
    units: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    scopes: Mapping[int, str] = field(default_factory=dict)
    free: Mapping[str, float] = field(default_factory=dict)
    programs: Mapping[str, bool] = field(default_factory=dict)
    qemus: tuple[Qemu, ...] = ()
    ups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    stopped: tuple[Entry, ...] = ()
    cut_off: Past | None = None
    libvirt_module: bool = True
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One row of the table of checks: its id, what it makes sure of, and the function that looks."""

    id: str
    title: str
    look: Callable[[HostFacts], Iterable[Finding]]
