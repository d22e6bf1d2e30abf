"""The types of the values in policy.json: what each key may hold, and what to say when it holds something else."""

from collections.abc import Callable, Mapping
from functools import partial


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


def _commands(value: object) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list) or not all(_texts(command) for command in value):
        raise ValueError("not a list of commands")
    return tuple(tuple(command) for command in value)


def _one_of(words: tuple[str, ...], value: object) -> str:
    if value not in words:
        raise ValueError(f"not one of {', '.join(repr(word) for word in words)}")
    return str(value)


def _some_of(words: tuple[str, ...], value: object) -> tuple[str, ...]:
    found = _texts(value)
    if unknown := [word for word in found if word not in words]:
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(words)}")
    return found


Checks = Mapping[str, Callable[[object], object]]
GUEST: Checks = {
    "action": partial(_one_of, ("shutdown", "save", "none")),
    "timeout": _number,
    "methods": partial(_some_of, ("agent", "acpi")),
    "resend": _number,
    "on_timeout": partial(_some_of, ("save", "destroy", "leave")),
    "needs": _texts,
    "before_stop": _commands,
    "before_stop_host": _commands,
    "hook_timeout": _number,
    "on_hook_failure": partial(_one_of, ("continue", "save", "skip")),
    "start_delay": _number,
    "wait_for": partial(_one_of, ("", "agent")),
    "bypass_cache": _flag,
    "sync_time": _flag,
    "persistent_only": partial(_one_of, ("default", "true", "false")),
}
HOST: Checks = {
    "profile": _text,
    "uris": _uris,
    "budget": _number,
    "parallel": _count,
    "boot": partial(_one_of, ("ignore", "restore")),
}
NET: Checks = {"on_shutdown": _text, "shutdown_timeout": _number, "parallel": _count}


def checked(data: Mapping[str, object], checks: Checks, where: str, complaints: list[str]) -> dict[str, object]:
    """Return the values of known keys that pass their check; add what is wrong with the others to `complaints`."""
    found: dict[str, object] = {}
    for key in checks.keys() & data.keys():
        try:
            found[key] = checks[key](data[key])
        except ValueError as error:
            complaints.append(f"{where}{key} = {data[key]!r:.60}: {error}; ignored")
    return found
