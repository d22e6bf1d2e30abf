"""Text for a profile that somebody pastes: a guest's name, whatever it is, stays one string of TOML. Pure."""

from __future__ import annotations

import glob
import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def quoted(text: str) -> str:
    """Return a text as a basic string of TOML (TOML 1.0, String), on one line and in ASCII.

    So no locale and no terminal changes it. A lone surrogate, which TOML cannot hold, becomes "?".
    """
    return f'"{"".join(map(_escaped, _SURROGATE.sub("?", text)))}"'


def match(name: str) -> str:
    """Return the line of a [[guest]] rule that makes it one for this guest: its value is a glob, in which ? is any."""
    return f"match = {quoted(glob.escape(name))}"


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isascii() and char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
