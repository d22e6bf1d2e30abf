"""What a check is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lvg.guests import Answer
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
class HostFacts:
    """Everything that the checks look at, gathered once, each with a deadline.

    `units` has the properties of systemd's units by name and property, empty without systemd. `answers` is what libvirt
    said at each URI of the policy. `timeline` is the next shutdown. `files` has the text of configuration files of
    other programs (qemu.conf, upsmon.conf, ...) by path; one that does not exist is not in it.
    `failed` says what could not be gathered, and why.
    """

    survey: Survey
    policy: Policy
    timeline: Timeline
    units: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One row of the table of checks: its id, what it makes sure of, and the function that looks."""

    id: str
    title: str
    look: Callable[[HostFacts], Iterable[Finding]]
