"""Find where one word of sh ends, across its quotes and expansions, and what it says if it says it literally.

Characters are bytes (latin-1). Grammar: POSIX, "Shell Command Language", 2.2 Quoting and 2.6 Word Expansions.
"""

import re

_BREAK = " \t\n;&|()<>"
_EXPANDS = re.compile(r"\$[\w@*#?$!({'\"-]")


class UnclosedError(Exception):
    """A quote or bracket that is opened at `position` and never closed."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def scan_word(text: str, pos: int) -> tuple[int, str | None]:
    """Return the end of the word at `pos` and what sh makes of it (None if only sh can tell)."""
    value: list[str] = []
    literal = True
    begin = pos
    while pos < len(text) and text[pos] not in _BREAK:
        char = text[pos]
        if char == "\\":
            following = text[pos + 1 : pos + 2] or char  # the last character of the file means itself
            value.append(following.replace("\n", ""))
            pos += 2
        elif char == "'":
            end = _find(text, "'", pos)
            value.append(text[pos + 1 : end])
            pos = end + 1
        elif char == '"':
            pos, inner = _double(text, pos)
            literal = literal and inner is not None
            value.append(inner or "")
        elif char == "`" or _EXPANDS.match(text, pos):
            literal = False
            pos = _expansion(text, pos)
        else:
            tilde = char == "~" and (pos == begin or text[pos - 1] in "=:")
            literal = literal and not tilde and char != "\0"
            value.append(char)
            pos += 1
    return min(pos, len(text)), "".join(value) if literal else None


def _double(text: str, pos: int) -> tuple[int, str | None]:
    value: list[str] = []
    literal = True
    begin, pos = pos, pos + 1
    while pos < len(text):
        char = text[pos]
        if char == '"':
            return pos + 1, "".join(value) if literal else None
        if char == "\\":
            following = text[pos + 1 : pos + 2]
            value.append({"\n": ""}.get(following, following if following in '$`"\\' else "\\" + following))
            pos += 2
        elif char == "`" or (char == "$" and _EXPANDS.match(text, pos) and text[pos + 1] not in "'\""):
            literal = False
            pos = _expansion(text, pos)
        else:
            literal = literal and char != "\0"
            value.append(char)
            pos += 1
    raise UnclosedError(begin)


def _expansion(text: str, pos: int) -> int:
    """Return the end of the expansion or command substitution that begins at `pos`."""
    if text[pos] == "`":
        end = pos + 1
        while end < len(text) and text[end] != "`":
            end += 2 if text[end] == "\\" else 1
        if end >= len(text):
            raise UnclosedError(pos)
        return end + 1
    if text[pos + 1] in "({":
        return _bracket(text, pos + 1)
    return pos + 1 if text[pos + 1] in "'\"" else pos + 2


def _bracket(text: str, pos: int) -> int:
    begin, opener = pos, text[pos]
    closer = ")" if opener == "(" else "}"
    depth = 0
    while pos < len(text):
        char = text[pos]
        if char == "\\":
            pos += 2
        elif char == "'":
            pos = _find(text, "'", pos) + 1
        elif char == '"':
            pos = _double(text, pos)[0]
        elif char == "`":
            pos = _expansion(text, pos)
        else:
            depth += (char == opener) - (char == closer)
            pos += 1
            if depth == 0:
                return pos
    raise UnclosedError(begin)


def _find(text: str, what: str, pos: int) -> int:
    end = text.find(what, pos + 1)
    if end < 0:
        raise UnclosedError(pos)
    return end
