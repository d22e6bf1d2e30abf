"""Check one profile file, or the --set words of one command line: each becomes a layer to merge.

Every error names the file, the line if it is known, or --set, then the key, and the nearest known word.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lvg.errors import UsageError, did_you_mean
from lvg.profiles.policyfile import Rule
from lvg.profiles.reading import Document
from lvg.settings import OPENRC_KEYS, SETTINGS
from lvg.settings import check as check_setting
from lvg.stoppolicy import STOP_KEYS, Value, keys_for, shown
from lvg.stoppolicy import check as check_stop

SET = "--set"
_TABLES = ("summary", "extends", "libvirt-guests", "stopvm", "guest")


@dataclass(frozen=True)
class Layer:
    """What one place says: only the keys that stand there. `summary` is None if it says none."""

    label: str
    summary: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    stop: Mapping[str, Value] = field(default_factory=dict)
    guests: tuple[Rule, ...] = ()


def layer(document: Document) -> Layer:
    """Return a profile file as a checked layer. Raises UsageError at the first thing that is wrong."""
    data = document.data
    for key in data:
        if key not in _TABLES:
            raise _unknown_table(document, key)
    summary = data.get("summary")
    if not isinstance(summary, str | None):
        raise UsageError(f"{document.where('summary')}: summary = {shown(summary)} is no text.", 'summary = "One line"')
    settings = _table(document, "libvirt-guests")
    stop = _table(document, "stopvm")
    return Layer(
        document.source.label,
        summary,
        {key: _setting(document.where(key), key, value) for key, value in settings.items()},
        {key: _stop(document.where(key), key, value) for key, value in stop.items()},
        tuple(_rule(document, number, rule) for number, rule in enumerate(_rules(document), 1)),
    )


def set_layer(words: Sequence[str]) -> Layer:
    """Return KEY=VALUE words as a layer: UPPER_CASE keys are settings, the others [stopvm] keys. Later wins."""
    settings: dict[str, str] = {}
    stop: dict[str, Value] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f'{SET} "{word}" is not KEY=VALUE.', f"For example: {SET} timeout=120")
        value = value_of(text)
        if key in SETTINGS or (key.isupper() and key not in STOP_KEYS):
            settings[key] = _setting(SET, key, value)
        else:
            stop[key] = _stop(SET, key, value)
    return Layer(SET, None, settings, stop)


def value_of(text: str) -> object:
    """Return a value as TOML reads it; what is not TOML is taken as text, as a shell eats the quotes.

    So `suspend` is "suspend", and `[agent, acpi]` the list of both.
    """
    try:
        read = tomllib.loads(f"value = {text}")
        if set(read) == {"value"}:
            return read["value"]
    except (ValueError, RecursionError):
        pass
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]") and not set(bare[1:-1]) & set("[]\"'"):
        return [item.strip() for item in bare[1:-1].split(",")]
    return bare


def _unknown_table(document: Document, key: str) -> UsageError:
    if key in SETTINGS or key in STOP_KEYS:
        table = "[libvirt-guests]" if key in SETTINGS else "[stopvm]"
        return UsageError(f'{document.where(key)}: "{key}" stands outside its table.', f"Put it below a line {table}.")
    what = f'{document.where(key)}: "{key}" is unknown.{did_you_mean(key, _TABLES)}'
    return UsageError(what, "Known: summary, extends, [libvirt-guests], [stopvm], [[guest]].")


def _table(document: Document, name: str) -> Mapping[str, object]:
    table = document.data.get(name, {})
    if isinstance(table, dict):
        return table
    raise UsageError(f"{document.where(name)}: {name} is not one table.", f"Write it once as [{name}], keys below.")


def _rules(document: Document) -> Sequence[Mapping[str, object]]:
    rules = document.data.get("guest", [])
    if isinstance(rules, list) and all(isinstance(rule, dict) for rule in rules):
        return rules
    raise UsageError(f"{document.where('guest')}: guest is not a list of rules.", "Write each rule as [[guest]].")


def _setting(where: str, key: str, value: object) -> str:
    if key not in SETTINGS and key not in OPENRC_KEYS:  # those have a hint of their own in settings.py
        raise _unknown(where, "[libvirt-guests]", key, tuple(SETTINGS), keys_for(guest=False))
    try:
        return check_setting(key, _not_bool(key, value))
    except UsageError as error:
        raise UsageError(f"{where}: {error.what}", error.todo) from None


def _not_bool(key: str, value: object) -> object:
    """Return a TOML boolean as the text that a setting of words true and false means by it.

    For a number it is a mistake: `SHUTDOWN_TIMEOUT = true` must not become one second.
    """
    setting = SETTINGS.get(key)
    if not isinstance(value, bool) or setting is None or setting.kind == "flag":
        return value
    if setting.kind == "int":
        raise UsageError(f"{key} = {shown(value)}: a whole number is expected.", f"{key}: {setting.meaning}.")
    return shown(value)


def _stop(where: str, key: str, value: object, *, guest: bool = False) -> Value:
    if key not in STOP_KEYS:
        known = (*(("match",) if guest else ()), *keys_for(guest=guest))
        raise _unknown(where, "a [[guest]] rule" if guest else "[stopvm]", key, known, tuple(SETTINGS))
    try:
        return check_stop(key, value, guest=guest)
    except UsageError as error:
        raise UsageError(f"{where}: {error.what}", error.todo) from None


def _unknown(where: str, place: str, key: str, known: Sequence[str], elsewhere: Sequence[str]) -> UsageError:
    """Say what is near: the same word in other case, then what this place knows, then the other table."""
    same = [word for word in (*known, *elsewhere) if word.casefold() == key.casefold()]
    if same == [key]:
        table = "[libvirt-guests]" if key in SETTINGS else "[stopvm]"
        return UsageError(f'{where}: "{key}" does not belong in {place}.', f"Move it to {table}.")
    hint = f' Did you mean "{same[0]}"?' if same else did_you_mean(key, known) or did_you_mean(key, elsewhere)
    return UsageError(f'{where}: {place} has no key "{key}".{hint}', f"Known here: {', '.join(known)}.")


def _rule(document: Document, number: int, data: Mapping[str, object]) -> Rule:
    where = f"{document.source.label}, [[guest]] rule {number}"
    match = data.get("match")
    if not isinstance(match, str) or not match:
        what = "has no match." if "match" not in data else f"match = {shown(match)} is no guest's name."
        hints = [did_you_mean(key, ["match"]) for key in data if key not in STOP_KEYS]
        what = f"{where}: {what}{max(hints, default='')}"
        raise UsageError(what, 'Begin each rule with match = "NAME", or a glob like "db*".')
    values = {key: _stop(f"{where} ({match})", key, value, guest=True) for key, value in data.items() if key != "match"}
    return Rule(match, {key: values[key] for key in keys_for(guest=True) if key in values}, document.source.label)
