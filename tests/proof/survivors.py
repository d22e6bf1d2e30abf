"""What became of the mutants, and the list of those that survived, each with its reason.

An entry of docs/SURVIVORS.md is a function, the lines that the mutant took out of it and put into it, and the reason.
Lines are as `ast` prints them, without numbers: the list holds as long as the function says the same.
"""

import ast
import difflib
import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rooms import Room

FILE = Path(__file__).resolve().parents[2] / "docs/SURVIVORS.md"
HEADER = """\
# Survivors

Small changes of lvg that no fast test notices: what each takes out of a function and puts in, and why that is no gap in
the tests. `tests/proof/mutants` compares with this list, and writes it with `--survivors`.
"""
_KILLED, _TIMED = (1, 3), (36, 24, -24, 152, 255, -9)


class Mutant(NamedTuple):
    """One change. `state` is killed, timeout or survived; `change` has a line that begins with - or + for each."""

    room: str
    function: str
    change: str
    state: str

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by in the list."""
        return self.function, self.change


def outcomes(sources: Path, room: Room) -> list[Mutant]:
    """Return every mutant of one room, in the order of files and functions."""
    found = []
    for meta in sorted(sources.rglob("*.meta")):
        codes = json.loads(meta.read_text())["exit_code_by_key"]
        if codes:
            texts = _functions(meta.with_suffix(""))
            found += [_mutant(room, key, code, texts) for key, code in codes.items()]
    return found


def _mutant(room: Room, key: str, code: int | None, texts: Mapping[str, str]) -> Mutant:
    module, _, name = key.rpartition(".")
    base = name.rpartition("__mutmut_")[0]
    function = f"{module}.{base.removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}"
    if code is None or code == 2:
        raise SystemExit(f"{key} was not tried")
    state = "killed" if code in _KILLED else "timeout" if code in _TIMED else "survived"
    return Mutant(room.name, function, _change(texts[f"{base}__mutmut_orig"], texts[name]), state)


def _functions(path: Path) -> dict[str, str]:
    """Return the text of each function that mutmut wrote, without its name, so that a mutant and its origin compare."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            name, node.name, node.decorator_list = node.name, "it", []
            found[name] = ast.unparse(node)
    return found


def _change(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in lines if not re.match(r"---|\+\+\+|@@", line))


def known(file: Path = FILE) -> dict[tuple[str, str], str]:
    """Return the reasons in the list."""
    found = {}
    for entry in file.read_text().split("\n### ")[1:] if file.exists() else ():
        name, change, reason = entry.strip().split("\n\n")
        found[name, "\n".join(line.strip() for line in change.split("\n"))] = " ".join(reason.split("\n"))
    return found


def explained(mutant: Mutant, reasons: Mapping[tuple[str, str], str]) -> bool:
    """True if the list has a reason for it."""
    return reasons.get(mutant.key, "?") != "?"


def written(survivors: Iterable[Mutant], reasons: Mapping[tuple[str, str], str], rooms: Sequence[Room]) -> str:
    """Return the list of these survivors; what is known of other rooms stays."""
    entries = dict.fromkeys(mutant.key for mutant in survivors)
    modules = tuple(_module(source) for room in rooms for source in room.sources)
    entries |= {key: None for key in reasons if not key[0].startswith(modules)}
    return "\n".join([HEADER, *(_entry(*key, reasons.get(key, "?")) for key in sorted(entries))])


def _entry(name: str, change: str, reason: str) -> str:
    return f"### {name}\n\n{textwrap.indent(change, '    ')}\n\n{reason}\n"


def _module(source: str) -> str:
    return source.removeprefix("src/").removesuffix("*.py").removesuffix(".py").replace("/", ".")
