"""Read the libvirt-guests file by its text alone: what it assigns, and what in it looks right but is not."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lvg.envfile import sdenv, shtext
from lvg.envfile.shtext import ASSIGNS, Chunk, Command, Script, Word
from lvg.settings import OPENRC_KEYS, SETTINGS

_SETTERS = frozenset(("export", "readonly"))
_RUNS = re.compile(r"`|\$\((?!\()")


class Assignment(NamedTuple):
    """`KEY=word` outside comments: its line (from 1), its bytes from `start` to `end`, and its value.

    `value` is None where only sh can tell: an expansion, or inside a block, function or subshell.
    """

    key: str
    line: int
    start: int
    end: int
    value: str | None


def assignments(data: bytes) -> tuple[Assignment, ...]:
    """Return the assignments that sh may carry out, in the file's order; commented ones are none."""
    script = shtext.parse(data)
    return tuple(item for chunk in script.chunks for item in assigned(script, chunk))


def assigned(script: Script, chunk: Chunk) -> Iterator[Assignment]:
    """Yield the assignments of one chunk."""
    for command in chunk.commands:
        for word in _assigning(command):
            key = word.raw.partition("=")[0]
            literal = None if command.depth or word.value is None else word.value[len(key) + 1 :]
            value = None if literal is None else literal.encode("latin-1").decode("utf-8", "surrogateescape")
            yield Assignment(key, line_of(script, word), word.start, word.end, value)


def line_of(script: Script, word: Word) -> int:
    """Return the number of the line, from 1, on which a word begins."""
    return script.text.count("\n", 0, word.start) + 1


def _assigning(command: Command) -> tuple[Word, ...]:
    words = command.words
    if words[0].raw in _SETTERS:
        return tuple(word for word in words if ASSIGNS.match(word.raw))
    # with a command behind them, assignments are that command's environment and set nothing
    return words if _prefix(words) == len(words) else ()


def _prefix(words: tuple[Word, ...]) -> int:
    """Return how many assignments stand before the command's name."""
    return next((at for at, word in enumerate(words) if not ASSIGNS.match(word.raw)), len(words))


def touches(chunk: Chunk, key: str) -> bool:
    """True if the chunk sets `key`, or names it in a way that may: eval, unset, read, `${KEY:=x}`."""
    return any(_command_touches(command, key) for command in chunk.commands)


def _command_touches(command: Command, key: str) -> bool:
    words = command.words
    if not any(key in word.raw for word in words):
        return False
    if any(word.raw.startswith(f"{key}=") for word in _assigning(command)):
        return True
    if any(re.search(rf"\$\{{{key}:?=", word.raw) for word in words):
        return True
    named = re.compile(rf"(?<![\w${{]){key}(?!\w)", re.ASCII)
    return any(named.search(word.raw) for word in words[_prefix(words) + 1 :])


def notes(data: bytes, keys: Iterable[str]) -> tuple[str, ...]:
    """Return remarks on what the admin should know of: nothing here is mended by an edit of other keys."""
    script = shtext.parse(data)
    known = dict.fromkeys((*keys, *SETTINGS, *OPENRC_KEYS))
    found = assignments(data)
    return (
        *_duplicates(found, known),
        *(note for item in found for note in _about(script, item, known)),
        *without_effect(data, keys),
    )


def without_effect(data: bytes, keys: Iterable[str]) -> tuple[str, ...]:
    """Return those of the remarks that are about lines which look like an assignment of `keys` and are none."""
    known = dict.fromkeys((*keys, *SETTINGS, *OPENRC_KEYS))
    return (*_strays(shtext.parse(data), known), *_unread(data))


def _duplicates(found: Iterable[Assignment], known: Iterable[str]) -> Iterator[str]:
    lines: dict[str, list[str]] = {}
    for item in found:
        lines.setdefault(item.key, []).append(str(item.line))
    for key in known:
        *others, last = lines.get(key, [""])
        if others:
            yield f"{key} is set on lines {', '.join(others)} and {last}: the last one that sh reaches counts"


def _about(script: Script, item: Assignment, known: Iterable[str]) -> Iterator[str]:
    raw = script.text[item.start : item.end]
    upper = item.key.upper()
    if item.key in known and _RUNS.search(raw):
        yield f"line {item.line}: {item.key} comes from a command, which is not run to find out its value"
    elif item.key in known and raw.endswith("\r"):
        yield f"line {item.line}: {item.key} ends in a carriage return, which sh takes for a part of the value"
    elif item.key not in known and upper in known:
        yield f"line {item.line}: {item.key} is not {upper}: upper and lower case differ, so this line does nothing"


def _strays(script: Script, known: Iterable[str]) -> Iterator[str]:
    for command in (command for chunk in script.chunks for command in chunk.commands):
        words = command.words
        # `KEY = v` and `KEY += v` run a command of that name; `KEY= v` runs `v`
        name = words[0].raw.partition("=")[0].removesuffix("+")
        if name in known and not _assigning(command):
            text = " ".join(" ".join(word.raw for word in words).split())[:80]  # a word may hold line breaks
            yield f"line {line_of(script, words[0])}: `{text}` sets nothing: sh takes it for a command to run"


def _unread(data: bytes) -> Iterator[str]:
    if data.startswith(b"\xef\xbb\xbf"):
        yield "line 1: a byte order mark stands before it, so neither sh nor systemd sees an assignment there"
    if not all(reading.whole for reading in sdenv.read(data)):
        yield "systemd gives up on this file (a NUL byte, or a value that is not UTF-8); sh still reads it"
