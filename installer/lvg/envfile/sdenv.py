"""What systemd reads from an EnvironmentFile=, as a model without any effect.

systemd does not run sh: a comment that ends in a backslash, an `export` or a second command on
the line means something else to it. Source: systemd's env-file.c and systemd.exec(5); 254 and later end a
comment at its line, older ones let a backslash carry it on, so both are modelled.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

_BLANK = " \t\n\r"
_NEWLINE = "\n\r"


class Reading(NamedTuple):
    """What one systemd reads: `values`, and the offsets of lines where a new key may begin.

    `whole` is False if systemd gives up on the file (a NUL byte, a value that is not UTF-8).
    """

    values: dict[str, str]
    starts: frozenset[int]
    whole: bool


@dataclass
class _State:
    carried: bool
    name: str = "pre_key"
    key: str = ""
    value: list[str] = field(default_factory=list)
    blank_from: int = -1
    values: dict[str, str] = field(default_factory=dict)
    starts: set[int] = field(default_factory=set)


def read(data: bytes) -> tuple[Reading, ...]:
    """Return what systemd before 254 and since 254 reads; one entry where they cannot differ."""
    both = (True, False) if b"\\" in data else (False,)
    return tuple(_read(data, carried) for carried in both)


def _read(data: bytes, carried: bool) -> Reading:
    state = _State(carried)
    text = data.decode("latin-1")
    for offset, char in enumerate(text):
        if state.name == "pre_key" and (offset == 0 or text[offset - 1] == "\n"):
            state.starts.add(offset)
        _STEPS[state.name](state, char)
    if state.name == "pre_key" and text[-1:] in ("", "\n"):
        state.starts.add(len(text))
    if state.name in ("pre_value", "value", "escape", "single", "double", "double_escape"):
        _push(state)
    utf8 = all(_is_utf8(value) for value in state.values.values())
    return Reading(state.values, frozenset(state.starts), utf8 and "\0" not in text)


def _is_utf8(value: str) -> bool:
    try:
        value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _push(state: _State) -> None:
    if state.name == "value" and state.blank_from >= 0:
        del state.value[state.blank_from :]
    state.values[state.key.rstrip(_BLANK)] = "".join(state.value)
    state.name, state.key, state.blank_from = "pre_key", "", -1
    state.value.clear()


def _pre_key(state: _State, char: str) -> None:
    if char in "#;":
        state.name = "comment"
    elif char not in _BLANK:
        state.name, state.key = "key", char


def _key(state: _State, char: str) -> None:
    if char in _NEWLINE:
        state.name, state.key = "pre_key", ""
    elif char == "=":
        state.name, state.blank_from = "pre_value", -1
    else:
        state.key += char


def _pre_value(state: _State, char: str) -> None:
    if char in _NEWLINE:
        _push(state)
    elif char in "'\"\\":
        state.name = {"'": "single", '"': "double", "\\": "escape"}[char]
        state.blank_from = -1
    elif char not in _BLANK:
        state.name = "value"
        state.value.append(char)


def _value(state: _State, char: str) -> None:
    if char in _NEWLINE:
        _push(state)
    elif char == "\\":
        state.name, state.blank_from = "escape", -1
    else:
        if char not in _BLANK:
            state.blank_from = -1
        elif state.blank_from < 0:
            state.blank_from = len(state.value)
        state.value.append(char)


def _escape(state: _State, char: str) -> None:
    state.name = "value"
    if char not in _NEWLINE:
        state.value.append(char)


def _single(state: _State, char: str) -> None:
    if char == "'":
        state.name = "pre_value"
    else:
        state.value.append(char)


def _double(state: _State, char: str) -> None:
    if char == '"':
        state.name = "pre_value"
    elif char == "\\":
        state.name = "double_escape"
    else:
        state.value.append(char)


def _double_escape(state: _State, char: str) -> None:
    state.name = "double"
    if char in '"\\`$':
        state.value.append(char)
    elif char != "\n":
        state.value += ["\\", char]


def _comment(state: _State, char: str) -> None:
    if char == "\\":
        state.name = "comment_escape"
    elif char in _NEWLINE:
        state.name = "pre_key"


def _comment_escape(state: _State, char: str) -> None:
    state.name = "pre_key" if char in _NEWLINE and not state.carried else "comment"


_STEPS = {
    "pre_key": _pre_key,
    "key": _key,
    "pre_value": _pre_value,
    "value": _value,
    "escape": _escape,
    "single": _single,
    "double": _double,
    "double_escape": _double_escape,
    "comment": _comment,
    "comment_escape": _comment_escape,
}
