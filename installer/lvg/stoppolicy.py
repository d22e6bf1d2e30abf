"""The keys of a profile's [stopvm] table and [[guest]] rules: types, defaults, limits, meaning.

One table holds everything; `check` decides by it and nothing else. Times are whole seconds.
"""

import json
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from lvg.errors import UsageError, did_you_mean

Value = str | int | bool | tuple[str, ...] | tuple[tuple[str, ...], ...]
Scope = Literal["host", "both", "guest"]
Kind = Literal["choice", "seconds", "count", "flag", "words", "names", "commands"]

_DAY = 86400
_HOUR = 3600


class StopKey(NamedTuple):
    """One key. `scope`: only for the whole host, a default that a guest may override, or only for one guest."""

    key: str
    kind: Kind
    default: Value
    meaning: str
    scope: Scope = "both"
    choices: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 0


_TABLE = (
    StopKey(
        "action",
        "choice",
        "shutdown",
        "shut guests down, save them, or leave them to libvirt-guests",
        choices=("shutdown", "save", "none"),
    ),
    StopKey("timeout", "seconds", 240, "time for one guest, from its first request", minimum=1, maximum=_DAY),
    StopKey("budget", "seconds", 1200, "time for all guests together", scope="host", minimum=1, maximum=_DAY),
    StopKey(
        "methods", "words", ("agent", "acpi"), "ways to ask for a shutdown, tried in turn", choices=("agent", "acpi")
    ),
    StopKey("resend", "seconds", 20, "time between presses of the ACPI button; 0 presses once", maximum=_HOUR),
    StopKey(
        "on_timeout",
        "words",
        ("save", "leave"),
        "what to do with a guest whose time is up, tried in turn",
        choices=("save", "destroy", "leave"),
    ),
    StopKey("parallel", "count", 0, "guests stopped at the same time; 0 is no limit", scope="host", maximum=10000),
    StopKey(
        "boot",
        "choice",
        "ignore",
        "bring back at boot what ran, or do nothing",
        scope="host",
        choices=("ignore", "restore"),
    ),
    StopKey("start_delay", "seconds", 0, "time between two starts", maximum=_HOUR),
    StopKey(
        "wait_for", "choice", "", "a guest is up, for those that need it, when its agent is", choices=("", "agent")
    ),
    StopKey("protect", "flag", True, "refuse a stop of the units while the host runs", scope="host"),
    StopKey("needs", "names", (), "guests stopped after this one and started before it", scope="guest"),
    StopKey("before_stop", "commands", (), "commands run inside the guest, by its agent, before it is asked"),
    StopKey("before_stop_host", "commands", (), "commands run on the host before the guest is asked"),
    StopKey("hook_timeout", "seconds", 60, "time for each of these commands", minimum=1, maximum=_HOUR),
    StopKey(
        "on_hook_failure",
        "choice",
        "continue",
        "after a failed command: go on, save the guest, or leave it",
        choices=("continue", "save", "skip"),
    ),
)

STOP_KEYS: Mapping[str, StopKey] = {row.key: row for row in _TABLE}


def keys_for(*, guest: bool) -> tuple[str, ...]:
    """Return the keys allowed in a [[guest]] rule, or those allowed in [stopvm]."""
    barred = "host" if guest else "guest"
    return tuple(row.key for row in _TABLE if row.scope != barred)


def defaults() -> dict[str, Value]:
    """Return every key with its default."""
    return {row.key: row.default for row in _TABLE}


def check(key: str, value: object, *, guest: bool = False) -> Value:
    """Return `value`, as TOML gave it, in its checked form: lists become tuples.

    Raises UsageError that names the key, the value and what is allowed. The file is the caller's to name.
    """
    row = STOP_KEYS.get(key)
    if row is None or key not in keys_for(guest=guest):
        raise _not_here(key, guest=guest)
    return _CHECKS[row.kind](row, value)


def number_of(value: Value) -> int:
    """Return a checked value of kind seconds or count as the number it is."""
    return value if isinstance(value, int) else 0


def names_of(value: Value) -> tuple[str, ...]:
    """Return a checked value of kind names or words as the list it is."""
    return _strings(value) or ()


def shown(value: object) -> str:
    """Return a value as a person would write it in TOML, cut to one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _not_here(key: str, *, guest: bool) -> UsageError:
    place = "a [[guest]] rule" if guest else "[stopvm]"
    known = keys_for(guest=guest)
    todo = f"Known here: {', '.join(known)}."
    if key in STOP_KEYS:
        other = "[stopvm]: it is for the whole host" if guest else "a [[guest]] rule: it is for one guest"
        return UsageError(f'"{key}" does not belong in {place}.', f"Move it to {other}.")
    return UsageError(f'{place} has no key "{key}".{did_you_mean(key, known)}', todo)


def _wrong(row: StopKey, value: object, expected: str, hint: str = "") -> UsageError:
    what = f"{row.key} = {shown(value)}: {expected} is expected.{hint}"
    return UsageError(what, f"{row.key}: {row.meaning}. For example {row.key} = {shown(_example(row))}.")


def _example(row: StopKey) -> object:
    examples: dict[str, object] = {"names": ("nas",), "commands": (("systemctl", "stop", "postgresql"),)}
    return examples.get(row.kind, row.default)


def _choice(row: StopKey, value: object) -> Value:
    if isinstance(value, str) and value in row.choices:
        return value
    hint = did_you_mean(value, row.choices) if isinstance(value, str) else ""
    raise _wrong(row, value, "one of " + ", ".join(shown(choice) for choice in row.choices), hint)


def _number(row: StopKey, value: object) -> Value:
    # bool is an int to Python; to a person `timeout = true` is a mistake.
    if isinstance(value, int) and not isinstance(value, bool) and row.minimum <= value <= row.maximum:
        return value
    unit = " of seconds" if row.kind == "seconds" else ""
    raise _wrong(row, value, f"a whole number{unit} from {row.minimum} to {row.maximum}")


def _flag(row: StopKey, value: object) -> Value:
    if isinstance(value, bool):
        return value
    raise _wrong(row, value, "true or false")


def _words(row: StopKey, value: object) -> Value:
    allowed = ", ".join(shown(choice) for choice in row.choices)
    words = _strings(value)
    if not words:
        raise _wrong(row, value, f"a list with one or more of {allowed}")
    for word in words:
        if word not in row.choices:
            hint = f" {shown(word)} is none.{did_you_mean(word, row.choices)}"
            raise _wrong(row, value, f"a list of {allowed}", hint)
    if len(set(words)) < len(words):
        raise _wrong(row, value, "each word once")
    if "leave" in words[:-1]:
        raise _wrong(row, value, 'nothing after "leave", which ends the list,')
    return words


def _names(row: StopKey, value: object) -> Value:
    names = _strings(value)
    if names is None or "" in names:
        raise _wrong(row, value, "a list of guest names or globs")
    if len(set(names)) < len(names):
        raise _wrong(row, value, "each name once")
    return names


def _commands(row: StopKey, value: object) -> Value:
    commands = [_strings(command) for command in value] if isinstance(value, list | tuple) else [None]
    good = tuple(command for command in commands if command and command[0])
    if len(good) < len(commands) or any("\0" in word for command in good for word in command):
        raise _wrong(row, value, "a list of commands, each one a list of words,")
    return good


def _strings(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple):
        return None
    words = tuple(word for word in value if isinstance(word, str))
    return words if len(words) == len(value) else None


_CHECKS: Mapping[Kind, Callable[[StopKey, object], Value]] = {
    "choice": _choice,
    "seconds": _number,
    "count": _number,
    "flag": _flag,
    "words": _words,
    "names": _names,
    "commands": _commands,
}
