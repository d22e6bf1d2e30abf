"""Split a file that sh sources into whole commands, as far as an editor must know.

This finds where a command begins and ends (quotes over several lines, here-documents, `if` blocks,
continued lines) and which assignments it holds. It runs nothing and decides no value that only sh
can tell. Bytes are handled as latin-1, one character per byte, so every offset is a byte offset.
Grammar: POSIX, "Shell Command Language".
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from lvg.envfile.shword import UnclosedError, scan_word

_OPERATOR = re.compile(r"<<-|<<|<&|>&|>>|<>|>\||&&|\|\||;;|[;&|()<>]")
_OPENERS = {"if": "fi", "case": "esac", "while": "done", "until": "done", "for": "done", "{": "}"}
_BETWEEN = frozenset(("then", "else", "elif", "do", "!"))
ASSIGNS = re.compile(r"([A-Za-z_]\w*)=", re.ASCII)


class Word(NamedTuple):
    """One word of a command. `value` is what sh makes of it, None if only sh can tell."""

    start: int
    end: int
    raw: str
    value: str | None


class Command(NamedTuple):
    """A simple command; `depth` counts the blocks, functions and subshells around it."""

    words: tuple[Word, ...]
    depth: int


class Chunk(NamedTuple):
    """Whole lines that belong together; a line may be put before or after them, never inside.

    `line` is the number of the first line, from 1. `comment` is the span of the last comment. `single` is True for
    at most one simple command without operators, redirections or blocks.
    """

    start: int
    end: int
    line: int
    commands: tuple[Command, ...]
    comment: tuple[int, int] | None
    single: bool


class Script(NamedTuple):
    """A whole file. `unclosed` is the line of a quote, bracket or block that never ends, or 0."""

    text: str
    chunks: tuple[Chunk, ...]
    unclosed: int


@dataclass
class _State:
    text: str
    pos: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    start: int = 0
    line: int = 1
    words: list[Word] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    open: list[tuple[str, int]] = field(default_factory=list)
    heredocs: list[tuple[str, bool]] = field(default_factory=list)
    redirect: str = ""
    comment: tuple[int, int] | None = None
    single: bool = True
    joined: bool = False


def parse(data: bytes) -> Script:
    """Split `data` into chunks. Never fails: what cannot be understood makes the last chunk long."""
    state = _State(data.decode("latin-1"))
    unclosed = 0
    try:
        while state.pos < len(state.text):
            _step(state)
    except UnclosedError as error:
        unclosed = state.text.count("\n", 0, error.position) + 1
        state.single = False
    if state.open and not unclosed:
        unclosed = state.text.count("\n", 0, state.open[0][1]) + 1
    _end_command(state)
    if state.start < len(state.text):
        _end_chunk(state, len(state.text))
    return Script(state.text, tuple(state.chunks), unclosed)


def _step(state: _State) -> None:
    char = state.text[state.pos]
    if state.text.startswith("\\\n", state.pos):
        state.pos += 2
    elif char in " \t":
        state.pos += 1
    elif char == "#":
        end = state.text.find("\n", state.pos)
        end = len(state.text) if end < 0 else end
        state.comment = (state.pos, end)
        state.pos = end
    elif char == "\n":
        _newline(state)
    elif operator := _OPERATOR.match(state.text, state.pos):
        state.pos = operator.end()
        _operator(state, operator.group())
    else:
        _take_word(state)


def _newline(state: _State) -> None:
    _end_command(state)
    state.pos += 1
    for delimiter, tabs in state.heredocs:
        _skip_heredoc(state, delimiter, tabs)
    state.heredocs.clear()
    if not state.open and not state.joined:
        _end_chunk(state, state.pos)


def _skip_heredoc(state: _State, delimiter: str, tabs: bool) -> None:
    begin = state.pos
    while state.pos < len(state.text):
        end = state.text.find("\n", state.pos)
        end = len(state.text) if end < 0 else end
        line = state.text[state.pos : end]
        state.pos = min(end + 1, len(state.text))
        if (line.lstrip("\t") if tabs else line) == delimiter:
            return
    raise UnclosedError(max(begin - 1, 0))


def _operator(state: _State, operator: str) -> None:
    state.single = False
    if operator[0] in "<>":
        state.redirect = operator
        if state.words and state.words[-1].raw.isdigit() and state.words[-1].end == state.pos - len(operator):
            state.words.pop()
        return
    if operator == "(" and state.words:
        state.words.clear()  # a function's name; its body follows
        state.joined = True
        state.open.append((")", state.pos - 1))
        return
    _end_command(state)
    if operator == "(":
        state.open.append((")", state.pos - 1))
    elif operator == ")" and state.open and state.open[-1][0] == ")":
        state.open.pop()
    elif operator in ("&&", "||", "|"):
        state.joined = True


def _take_word(state: _State) -> None:
    begin = state.pos
    state.pos, value = scan_word(state.text, begin)
    word = Word(begin, state.pos, state.text[begin : state.pos], value)
    redirect, state.redirect = state.redirect, ""
    if redirect:
        if redirect.startswith("<<"):
            state.heredocs.append((re.sub(r"[\"'\\]", "", word.raw), redirect == "<<-"))
        return
    state.joined = False
    if state.words or not _reserved(state, word):
        state.words.append(word)


def _reserved(state: _State, word: Word) -> bool:
    if word.raw in _OPENERS:
        state.open.append((_OPENERS[word.raw], word.start))
    elif state.open and word.raw == state.open[-1][0]:
        state.open.pop()
    elif word.raw not in _BETWEEN:
        return False
    state.single = False
    # the words after `for` and `case` are no command of their own, but keep their text
    return word.raw not in ("for", "case")


def _end_command(state: _State) -> None:
    if state.words:
        state.commands.append(Command(tuple(state.words), len(state.open)))
        state.words.clear()
    state.redirect = ""


def _end_chunk(state: _State, end: int) -> None:
    single = state.single and len(state.commands) <= 1
    chunk = Chunk(state.start, end, state.line, tuple(state.commands), state.comment, single)
    state.chunks.append(chunk)
    state.line += state.text.count("\n", state.start, end)
    state.start, state.comment, state.single = end, None, True
    state.commands.clear()
