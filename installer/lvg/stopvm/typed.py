"""Values from a JSON file for a dataclass, each of the type of its field: a file may be damaged, or changed by hand."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

_MOST_SECONDS = 1e7  # that anything can have taken


def known_values(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the keys that are fields of `kind`. Raises ValueError for one of another type.

    What is in a list of objects is not looked at.
    """
    found = {item.name: (item.type, data[item.name]) for item in fields(kind) if item.name in data}
    for name, (wanted, value) in found.items():
        if not _is(wanted, value):
            raise ValueError(f"{name} is {str(value)[:40]!a}")
    return {name: value for name, (_, value) in found.items()}


def _is(wanted: object, value: object) -> bool:
    """True for a value of the wanted type; a float stands for seconds, which have to make sense."""
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST_SECONDS
    if wanted == list[str]:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if wanted == int | None:
        return value is None or (isinstance(value, int) and not isinstance(value, bool))
    return isinstance(value, wanted if isinstance(wanted, type) else list)
