"""The stop policy: read from policy.json, or, when that cannot be trusted, a safe one built in.

Guests are stopped whatever is wrong with the file; what is wrong is returned and said loudly.
"""

import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path

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
            if fnmatchcase(name, rule.match):
                found = replace(found, **dict(rule.values))  # type: ignore[arg-type]  # checked in _rule
        return found


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 10**7:
        raise ValueError("not a number of at least 0")
    return value


def _count(value: object) -> int:
    return int(_number(value))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("not a list of texts")
    return tuple(value)


def _uris(value: object) -> tuple[str, ...]:
    return _texts(value) or ("default",)


def _commands(value: object) -> tuple[Command, ...]:
    if not isinstance(value, list) or not all(_texts(command) for command in value):
        raise ValueError("not a list of commands")
    return tuple(tuple(command) for command in value)


def _one_of(*words: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in words:
            raise ValueError(f"not one of {', '.join(repr(word) for word in words)}")
        return str(value)

    return check


def _some_of(*words: str) -> Callable[[object], tuple[str, ...]]:
    def check(value: object) -> tuple[str, ...]:
        found = _texts(value)
        if unknown := [word for word in found if word not in words]:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(words)}")
        return found

    return check


Checks = Mapping[str, Callable[[object], object]]
_GUEST: Checks = {
    "action": _one_of("shutdown", "save", "none"),
    "timeout": _number,
    "methods": _some_of("agent", "acpi"),
    "resend": _number,
    "on_timeout": _some_of("save", "destroy", "leave"),
    "needs": _texts,
    "before_stop": _commands,
    "before_stop_host": _commands,
    "hook_timeout": _number,
    "on_hook_failure": _one_of("continue", "save", "skip"),
    "start_delay": _number,
    "wait_for": _one_of("", "agent"),
    "bypass_cache": _flag,
    "sync_time": _flag,
    "persistent_only": _one_of("default", "true", "false"),
}
_HOST: Checks = {
    "profile": _text,
    "uris": _uris,
    "budget": _number,
    "parallel": _count,
    "boot": _one_of("ignore", "restore"),
}
_NET: Checks = {"on_shutdown": _text, "shutdown_timeout": _number, "parallel": _count}


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
    base = _checked(data, _GUEST, "", complaints)
    rules = [_rule(item, complaints) for item in guests] if isinstance(guests, list) else []
    if not isinstance(guests, list):
        complaints.append("guests: not a list of rules; ignored")
    return Policy(
        **_checked(data, _HOST, "", complaints),  # type: ignore[arg-type]  # each value went through its check
        base=GuestPolicy(**base),  # type: ignore[arg-type]
        rules=tuple(rule for rule in rules if rule is not None),
        net=Net(**_checked(net if isinstance(net, dict) else {}, _NET, "net.", complaints)),  # type: ignore[arg-type]
        complaints=tuple(complaints),
    )


def _rule(item: object, complaints: list[str]) -> Rule | None:
    if not isinstance(item, dict) or not isinstance(item.get("match"), str):
        complaints.append(f"guests: {item!r:.60} is not a rule; ignored")
        return None
    values = _checked(item, _GUEST, f"guests {item['match']}: ", complaints)
    return Rule(item["match"], tuple(sorted(values.items())))


def _checked(data: Mapping[str, object], checks: Checks, where: str, complaints: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key in checks.keys() & data.keys():
        try:
            found[key] = checks[key](data[key])
        except ValueError as error:
            complaints.append(f"{where}{key} = {data[key]!r:.60}: {error}; ignored")
    return found


def _trusted_text(path: Path) -> str:
    """Read a file that only root (or we) can have written. Raises OSError, ValueError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, "rb") as file:  # noqa: PTH123  # the file that was checked is the one that is read
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_uid not in (0, os.geteuid()):
            raise ValueError(f"it belongs to user {found.st_uid}, not to root")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others may write it")
        return file.read().decode()


GUEST_KEYS = frozenset(item.name for item in fields(GuestPolicy))
