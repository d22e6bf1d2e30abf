"""Values for the libvirt-guests file: checked before they are written, translated, and judged when found.

What wrong values do was measured with libvirt's own script; what OpenRC's service does stands in its init script.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from lvg.errors import UsageError, did_you_mean
from lvg.keys import OPENRC_KEYS, SETTINGS, Setting

__all__ = ["OPENRC_KEYS", "SETTINGS", "Setting", "Translation", "check", "problems", "to_dialect"]

_INT = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_URI = re.compile(r"default|[a-z][a-z0-9+.-]*://[A-Za-z0-9_.:/@%+=,-]*", re.ASCII)


class Translation(NamedTuple):
    """The same wish in a dialect: `values` to write, `notes` on what is different there."""

    values: dict[str, str]
    notes: tuple[str, ...]


def check(key: str, value: object) -> str:
    """Return the text to write for a value as TOML gives it (int, str or bool).

    Raises UsageError that names the key, the value and what is allowed.
    """
    setting = SETTINGS.get(key)
    if setting is None:
        raise UsageError(f'"{key}" is no setting of libvirt-guests.{_suggest(key)}', f"Known: {', '.join(SETTINGS)}.")
    text = _as_text(setting, value)
    wrong = "a text or a number is needed" if text is None else _wrong(setting, text)
    if text is None or wrong:
        nearest = did_you_mean(str(value), setting.choices) if setting.kind == "choice" else ""
        raise UsageError(f"{key} = {value!r}: {wrong}.{nearest}", f"{key}: {_allowed(setting)}.")
    return " ".join(text.split()) if setting.kind == "uris" else text


def _suggest(key: str) -> str:
    for setting in SETTINGS.values():
        if setting.openrc == key:
            return f' It is OpenRC\'s name for "{setting.key}".'
    return did_you_mean(key, SETTINGS)


def _as_text(setting: Setting, value: object) -> str | None:
    if isinstance(value, bool):
        words = ("0", "1") if setting.kind == "flag" else ("false", "true")
        return words[value]
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) else None


def _allowed(setting: Setting) -> str:
    if setting.choices:
        return " or ".join(setting.choices)
    if setting.kind == "int":
        return f"a whole number from {setting.minimum} to {setting.maximum}, without leading zeros"
    return '"default" or URIs such as qemu:///system, with a blank between them'


def _wrong(setting: Setting, text: str) -> str:
    """Return what is wrong with a value, or ""."""
    if setting.choices:
        return "" if text in setting.choices else "not an allowed value"
    if setting.kind == "int":
        return _wrong_int(setting, text)
    if any(char in "\t\n\r\v\f\0" for char in text):
        return "only blanks may stand between URIs"
    words = text.split(" ")
    bad = [word for word in words if word and not _URI.fullmatch(word)]
    if bad:
        return f'"{bad[0]}" is no URI, or has characters that sh could expand'
    return "" if any(words) else "empty: no guest would be handled"


def _wrong_int(setting: Setting, text: str) -> str:
    if not _INT.fullmatch(text):
        return "not a plain whole number"
    # the length first: a number of a thousand digits is not worth converting
    if len(text) > 10 or not setting.minimum <= int(text) <= setting.maximum:
        return "out of range"
    return ""


def to_dialect(values: Mapping[str, str], dialect: str) -> Translation:
    """Return checked upstream settings as the keys of a dialect, "upstream" or "openrc".

    Raises UsageError for a setting that OpenRC's service has no counterpart for, unless it asks
    for what that service does anyway.
    """
    if dialect == "upstream":
        return Translation(dict(values), ())
    out: dict[str, str] = {}
    notes: list[str] = []
    for key, value in values.items():
        name = SETTINGS[key].openrc
        if name:
            out[name] = _openrc_value(key, value)
        else:
            notes += _without_counterpart(key, value)
    if "LIBVIRT_MAXWAIT" in out or out.get("LIBVIRT_SHUTDOWN") == "shutdown":
        seconds = out.get("LIBVIRT_MAXWAIT", "500")
        notes.append(f"OpenRC's libvirt-guests destroys guests that still run after {seconds} s (LIBVIRT_MAXWAIT)")
    return Translation(out, tuple(notes))


def _openrc_value(key: str, value: str) -> str:
    if key == "URIS":
        return " ".join("qemu:///system" if uri == "default" else uri for uri in value.split())
    if key == "SHUTDOWN_TIMEOUT" and value == "0":
        raise UsageError(
            "SHUTDOWN_TIMEOUT = 0 (wait for ever) has no counterpart in OpenRC's libvirt-guests",
            "Give a number of seconds above 0: it becomes LIBVIRT_MAXWAIT.",
        )
    same = {("ON_BOOT", "start"): "yes", ("ON_BOOT", "ignore"): "no", ("ON_SHUTDOWN", "suspend"): "managedsave"}
    return same.get((key, value), value)


def _without_counterpart(key: str, value: str) -> list[str]:
    if key == "PARALLEL_SHUTDOWN" and value != "1":
        return ["PARALLEL_SHUTDOWN has no counterpart: OpenRC's libvirt-guests asks all guests at once"]
    if key == "SYNC_TIME" and value == "1":
        return ["SYNC_TIME has no counterpart: OpenRC's libvirt-guests always tries it"]
    if value == SETTINGS[key].builtin:
        return []
    raise UsageError(
        f"{key} = {value} has no counterpart in OpenRC's libvirt-guests",
        f"Leave {key} out, or set it to {SETTINGS[key].builtin}.",
    )


_OPENRC_CHOICES = {
    "LIBVIRT_SHUTDOWN": (("managedsave", "shutdown", "destroy"), "managedsave"),
    "LIBVIRT_START": (("yes", "no"), "yes"),
    "LIBVIRT_IGNORE_AUTOSTART": (("yes", "no"), "no"),
    "LIBVIRT_NET_SHUTDOWN": (("yes", "no"), "yes"),
}


def problems(dialect: str, values: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the values found in a file, one line each: what it is and what it does."""
    found = []
    for key, value in values.items():
        known = key in (OPENRC_KEYS if dialect == "openrc" else SETTINGS)
        if known:
            text = _openrc_problem(key, value) if dialect == "openrc" else _effect(SETTINGS[key], value)
            found += [f"{key}={_shown(value)} {text}"] if text else []
        elif key in OPENRC_KEYS or key in SETTINGS:
            found.append(f"{key} is ignored: this host's libvirt-guests does not know the key")
    return found


def _shown(value: str) -> str:
    return value if value.isprintable() and value else repr(value)


def _effect(setting: Setting, value: str) -> str:
    """Return what libvirt-guests makes of a wrong value, or "" for a good one."""
    if not _wrong(setting, value):
        return ""
    if setting.key == "SHUTDOWN_TIMEOUT":
        return _timeout_effect(value)
    return {
        "ON_SHUTDOWN": "means suspend: only the exact word shutdown shuts guests down",
        "ON_BOOT": "means ignore: only the exact word start starts guests",
        "PARALLEL_SHUTDOWN": "is no number: guests are shut down one after another",
        "START_DELAY": "is no plain whole number of seconds",
        "BYPASS_CACHE": "means 1: only the exact figure 0 turns it off",
        "SYNC_TIME": "means 1: only the exact figure 0 turns it off",
        "PERSISTENT_ONLY": "is none of default, true, false",
        "URIS": "leaves guests out: no guest is handled" if not value.split() else "has what is no plain URI",
    }[setting.key]


def _timeout_effect(value: str) -> str:
    if re.fullmatch(r"-[0-9]+", value):
        return "is negative: libvirt-guests stops with an error and touches no guest"
    if re.fullmatch(r"0[0-9]+", value):
        return "is read as an octal number, or stops libvirt-guests with an error"
    return "is no number of seconds: libvirt-guests then waits for ever"


def _openrc_problem(key: str, value: str) -> str:
    if key in _OPENRC_CHOICES:
        allowed, fallback = _OPENRC_CHOICES[key]
        return "" if value in allowed else f"is none of {', '.join(allowed)}; {fallback} is used"
    if key == "LIBVIRT_MAXWAIT":
        good = _INT.fullmatch(value) and value != "0"
        return "" if good else "is no number of seconds above 0"
    return "" if value.split() else "is empty: qemu:///system is used"
