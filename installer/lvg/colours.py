"""Text that is safe to print: no name of a file or a guest moves the cursor, and colours are for terminals."""

import os
import re
import sys

GREEN, RED, CYAN, RESET = "\x1b[32m", "\x1b[31m", "\x1b[36m", "\x1b[0m"
_OURS = (GREEN, RED, CYAN, RESET)
_SPLIT = re.compile("(" + "|".join(map(re.escape, _OURS)) + ")")


def printable(text: str) -> str:
    """Return `text` with control characters shown, so that no file name or guest name moves the cursor."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """Return `text` with its line breaks shown, so that no name begins a line of its own."""
    return text.replace("\n", "\\n")


def colours_wanted() -> bool:
    """True if stdout is a terminal and NO_COLOR is not set (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def coloured(text: str, colour: str) -> str:
    """Return `text`, made printable, in a colour if colours are wanted."""
    return f"{colour}{printable(text)}{RESET}" if colours_wanted() else printable(text)


def safe(line: str) -> str:
    """Return a line that may hold our own colours, with every other control character shown."""
    if not colours_wanted():
        return printable(line)
    return "".join(part if part in _OURS else printable(part) for part in _SPLIT.split(line))
