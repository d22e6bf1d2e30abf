"""The stop policy: read from policy.json, or, when that cannot be trusted, a safe one built in.

Guests are stopped whatever is wrong with the file; what is wrong is returned and said loudly.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from . import plainfile
from .checks import GUEST, HOST, NET, checked

PATH = Path("/etc/lvg/policy.json")
SCHEMA = 1
Command = tuple[str, ...]


@dataclass(frozen=True)
class GuestPolicy:
    """How one guest is stopped and started. Times are seconds; the words are those of the profile."""

    action: str = "shutdown"
    timeout: float = 240
    methods: tuple[str, ...] = ("agent", "acpi")
    resend: float = 20
    on_timeout: tuple[str, ...] = ("save", "leave")
    needs: tuple[str, ...] = ()
    before_stop: tuple[Command, ...] = ()
    before_stop_host: tuple[Command, ...] = ()
    hook_timeout: float = 60
    on_hook_failure: str = "continue"
    start_delay: float = 0
    wait_for: str = ""
    bypass_cache: bool = False
    sync_time: bool = False
    persistent_only: str = "default"


@dataclass(frozen=True)
class Net:
    """What libvirt-guests will do with the guests that are left, from its own file."""

    on_shutdown: str = "shutdown"
    shutdown_timeout: float = 240
    parallel: int = 100


@dataclass(frozen=True)
class Rule:
    """Values for the guests whose name matches; later rules win."""

    match: str
    values: tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Policy:
    """All rules. The defaults are the built-in safe policy: stop everything, force nothing, start nothing."""

    profile: str = "(built in)"
    uris: tuple[str, ...] = ("default",)
    budget: float = 1200
    parallel: int = 0
    boot: str = "ignore"
    base: GuestPolicy = GuestPolicy()
    rules: tuple[Rule, ...] = ()
    net: Net = Net()
    complaints: tuple[str, ...] = field(default=(), compare=False)

    def for_guest(self, name: str) -> GuestPolicy:
        """Return the policy of one guest: the base, then each matching rule."""
        found = self.base
        for rule in self.rules:
            if name == rule.match if _is_plain(rule.match) else fnmatchcase(name, rule.match):
                found = replace(found, **dict(rule.values))  # type: ignore[arg-type]  # checked in _rule
        return found


@cache
def _is_plain(match: str) -> bool:
    """True for a name without wildcards: fnmatch takes 50 times as long to tell that it is another one."""
    return not any(mark in match for mark in "*?[")


def by_hand(rules: Policy) -> Policy:
    """Return the rules of a stop by hand, behind which no libvirt-guests comes.

    So a guest that would be left to it (action "none") gets what it would do; to libvirt-guests
    every ON_SHUTDOWN but "shutdown" means suspend.
    """
    action = "shutdown" if rules.net.on_shutdown == "shutdown" else "save"

    def acted(values: tuple[tuple[str, object], ...]) -> tuple[tuple[str, object], ...]:
        return tuple((key, action if (key, value) == ("action", "none") else value) for key, value in values)

    base = replace(rules.base, action=action) if rules.base.action == "none" else rules.base
    return replace(rules, base=base, rules=tuple(replace(rule, values=acted(rule.values)) for rule in rules.rules))


def load(path: Path = PATH) -> Policy:
    """Read the policy. Whatever is wrong is in `complaints`; a value that cannot be used is the built-in one."""
    try:
        text = _trusted_text(path)
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        if data.get("schema") != SCHEMA:
            raise ValueError(f"schema {data.get('schema')!r} is not known to this stopvm")
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Policy(complaints=(f"{path} cannot be used: {reason}. The built-in safe policy stops the guests.",))
    return compile_policy(data)


def compile_policy(data: Mapping[str, object]) -> Policy:
    """Make a Policy of the JSON object; pure."""
    complaints: list[str] = []
    net, guests = data.get("net", {}), data.get("guests", [])
    base = checked(data, GUEST, "", complaints)
    rules = [_rule(item, complaints) for item in guests] if isinstance(guests, list) else []
    if not isinstance(guests, list):
        complaints.append("guests: not a list of rules; ignored")
    return Policy(
        **checked(data, HOST, "", complaints),  # type: ignore[arg-type]  # each value went through its check
        base=GuestPolicy(**base),  # type: ignore[arg-type]
        rules=tuple(rule for rule in rules if rule is not None),
        net=Net(**checked(net if isinstance(net, dict) else {}, NET, "net.", complaints)),  # type: ignore[arg-type]
        complaints=tuple(complaints),
    )


def _rule(item: object, complaints: list[str]) -> Rule | None:
    if not isinstance(item, dict) or not isinstance(item.get("match"), str):
        complaints.append(f"guests: {item!r:.60} is not a rule; ignored")
        return None
    values = checked(item, GUEST, f"guests {item['match']}: ", complaints)
    return Rule(item["match"], tuple(sorted(values.items())))


def _trusted_text(path: Path) -> str:
    """Read a file that only root (or we) can have written. Raises OSError, ValueError."""
    with plainfile.opened(path) as file:
        found = os.fstat(file.fileno())  # the file that was checked is the one that is read
        if found.st_uid not in (0, os.geteuid()):
            raise ValueError(f"it belongs to user {found.st_uid}, not to root")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others may write it")
        return plainfile.content(file).decode()
