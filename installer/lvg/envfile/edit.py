"""Edit the libvirt-guests file: a few keys are ours, every other byte is the admin's.

sh sources the file and systemd reads it as EnvironmentFile=, so what is written means the same to both. A
commented default is no value, and the last assignment wins.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from lvg.envfile import sdenv, shtext
from lvg.envfile.read import Assignment, assigned, assignments, notes, touches
from lvg.envfile.shell import sh_values
from lvg.envfile.shtext import Chunk, Script
from lvg.errors import LvgError

__all__ = ["Assignment", "Edit", "assignments", "checked_edit", "edit", "notes", "quote", "sh_values"]

_SAFE = r"[A-Za-z0-9_./:@%+=,-]*"
_BY_HAND = "Change it by hand, then run again."
_TRIES = 8  # places that look good to both; a file made to have thousands must not take minutes
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Edit:
    """New bytes, what each key was before (None: not set), and remarks for people on what the file holds.

    `now` is what sh sees in the new bytes, where it was asked.
    """

    data: bytes
    was: dict[str, str | None]
    notes: tuple[str, ...]
    now: dict[str, str | None] = field(default_factory=dict)


def quote(value: str) -> str:
    """Return `value` as sh and systemd both read it. Raises LvgError for a line break, a NUL or a single quote."""
    if re.fullmatch(_SAFE, value):
        return value
    if any(char in value for char in "'\n\r\0"):
        raise LvgError(f"{value!r} cannot be written so that sh and systemd read the same", "Choose another value.")
    return f"'{value}'"


def edit(data: bytes, values: Mapping[str, str], drop: Iterable[str] = ()) -> Edit:
    """Set `values` and take the assignments of `drop` out again. Pure: it decides by the text alone.

    A key is replaced where its last assignment stands, else put below its commented default, else at the end.
    Only a line of the form that this function writes is dropped. Raises LvgError with the line where no place is safe.
    """
    drop = tuple(drop)
    last = {item.key: item.value for item in assignments(data)}
    new = data
    for key in drop:
        new = _without(new, key)
    for key, value in values.items():
        new = _with(new, key, value)
    keys = (*values, *drop)
    return Edit(new, {key: last.get(key) for key in keys}, notes(data, keys))


def checked_edit(
    data: bytes, values: Mapping[str, str], drop: Iterable[str] = (), ask: Iterable[str] = (), *, before: bool = True
) -> Edit:
    """Like `edit`, but sh reads the new bytes, and `now` holds what it sees in them.

    `now` knows `values`, `drop` and the keys to `ask` for. With `before`, sh reads the old bytes too, for `was`;
    each reading takes some milliseconds. Raises LvgError, with line and reason, if sh cannot read the file or
    would see another value than wanted.
    """
    drop = tuple(drop)
    keys = (*values, *drop, *ask)
    done = edit(data, values, drop)
    if before:
        was = sh_values(data, keys)
        done = replace(done, was={key: was[key] for key in (*values, *drop)})
    now = was if before and done.data == data else sh_values(done.data, keys)
    for key, value in values.items():
        if now[key] != value:
            line = _suspect(data, key)
            what = "nothing" if now[key] is None else repr(now[key])
            raise LvgError(f"line {line}: because of it sh would see {what} in {key}, not {value!r}", _BY_HAND)
    return replace(done, now=now)


def _suspect(data: bytes, key: str) -> int:
    """Return the line of the admin's file that most likely sets `key` behind our back: the last that is able to."""
    script = shtext.parse(data)
    able = [chunk for chunk in script.chunks if chunk.commands and not _only_assigns_others(script, chunk, key)]
    return able[-1].line if able else 1


def _only_assigns_others(script: Script, chunk: Chunk, key: str) -> bool:
    words = chunk.commands[0].words
    plain = chunk.single and all(shtext.ASSIGNS.match(word.raw) for word in words)
    return plain and key not in script.text[chunk.start : chunk.end]


def _with(data: bytes, key: str, value: str) -> bytes:
    line = f"{key}={quote(value)}".encode("utf-8", "surrogateescape")
    script = shtext.parse(data)
    last = max((at for at, chunk in enumerate(script.chunks) if touches(chunk, key)), default=-1)
    if last >= 0 and _value_of(script, script.chunks[last], key) == value and _systemd_reads(data, key, value):
        return data
    for candidate in islice(_candidates(data, script, key, last, line), _TRIES):
        if _systemd_reads(candidate, key, value):
            return candidate
    raise _no_place(script, key, last)


def _no_place(script: Script, key: str, last: int) -> LvgError:
    where = script.chunks[last].line if last >= 0 else 1
    reason = "there is no place after it where both sh and systemd would read our line"
    back = next((chunk.line for chunk in script.chunks[: last + 1] if _returns(chunk)), 0)
    if back:
        reason = f"`return` on line {back} ends the file for sh, but systemd reads on"
    return LvgError(f"line {where}: {key} cannot be set: {reason}", _BY_HAND)


def _value_of(script: Script, chunk: Chunk, key: str) -> str | None:
    """Return the literal value if the chunk is one assignment of `key` alone, else None."""
    found = list(assigned(script, chunk))
    return found[0].value if chunk.single and len(found) == 1 and found[0].key == key else None


def _systemd_reads(data: bytes, key: str, value: str) -> bool:
    """True if no systemd reads another value; one that gives up on the whole file reads none."""
    wanted = value.encode("utf-8", "surrogateescape").decode("latin-1")
    return all(reading.values.get(key) == wanted for reading in sdenv.read(data) if reading.whole)


def _candidates(data: bytes, script: Script, key: str, last: int, line: bytes) -> Iterator[bytes]:
    """Yield the new file with the line at each place where sh sees it, the best place first."""
    chunks = script.chunks
    # nothing can follow a `return`, or stand behind a here-document that only the end of the file ends
    stop = next((at for at, chunk in enumerate(chunks) if _returns(chunk)), len(chunks) - bool(script.unclosed))
    if last >= stop:
        return
    if last >= 0:
        yield from _replaced(data, script, chunks[last], key, line)
        nearest, *others = (chunk.end for chunk in chunks[last:stop])
        offsets = [nearest, *reversed(others)]
    else:
        ends = [0, *(chunk.end for chunk in chunks[:stop])]
        defaults = [chunk.end for chunk in chunks[:stop] if _is_default(script, chunk, key)]
        offsets = [*defaults[-1:], *reversed(ends)]
    base = data if not data or data.endswith(b"\n") else data + b"\n"
    clean = frozenset.intersection(*(reading.starts for reading in sdenv.read(base)))
    for offset in offsets:
        at = len(base) if offset == len(data) else offset
        if at in clean and not (at == 0 and data.startswith((_BOM, b"#!"))):
            # a missing last newline is added only where our line comes last
            yield base[:at] + line + b"\n" + data[at:]


def _returns(chunk: Chunk) -> bool:
    return any(command.words[0].raw == "return" and command.depth == 0 for command in chunk.commands)


def _is_default(script: Script, chunk: Chunk, key: str) -> bool:
    """True for `#KEY=value` or `# KEY=value`; prose that names a key is indented further."""
    return bool(chunk.comment and not chunk.commands) and bool(
        re.match(rf"[ \t]*#+[ \t]?{key}=", script.text[chunk.start : chunk.end])
    )


def _replaced(data: bytes, script: Script, chunk: Chunk, key: str, line: bytes) -> Iterator[bytes]:
    found = list(assigned(script, chunk))
    alone = chunk.single and len(found) == 1 and found[0].key == key and found[0].end
    if not alone or chunk.commands[0].depth or len(chunk.commands[0].words) > 2:
        return
    # a remark behind the value would be part of the value to systemd: it moves to a line of its own
    remark = data[slice(*chunk.comment)].rstrip(b"\r") + b"\n" if chunk.comment else b""
    newline = b"\n" if data[chunk.start : chunk.end].endswith(b"\n") else b""
    yield data[: chunk.start] + remark + line + newline + data[chunk.end :]


def _without(data: bytes, key: str) -> bytes:
    chunks = [chunk for chunk in shtext.parse(data).chunks if touches(chunk, key)]
    if not chunks:
        return data
    start, end = chunks[-1].start, chunks[-1].end
    ours = re.fullmatch(rf"{key}=({_SAFE}|'[^'\n\r]*')\n?".encode(), data[start:end])
    return data[:start] + data[end:] if ours else data
