"""stopvm's history under power cuts: a stop, a restore and a stop by hand of test guests, and what is on record."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import recorded
import traced
from disk import Call
from scratch import Tree, clear, lay, look

from lvg.stopvm.history import Entry, History, Record

GUESTS = tuple(f"g{number}" for number in range(6))
_RUNS, _IS_OFF = 1, 5
_DOMAIN = """<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{}</name>
<uuid>{}</uuid><memory>1024</memory><os><type>hvm</type></os><test:runstate>{}</test:runstate></domain>"""

Course = tuple[str, Tree, list[Call], Callable[[Tree, int, bool], list[str]]]


def courses(folder: Path) -> Iterator[Course]:
    """Yield one course after the other, each of which goes on where the one before ended."""
    root, policy, log = folder / "root", folder / "policy.json", folder / "strace.log"
    clear(root)
    (root / "var/lib").mkdir(parents=True)
    for words, state in (
        ("stop --now", _RUNS),
        ("restore --now", _IS_OFF),
        ("stop --now", _RUNS),
        ("stop --now", _IS_OFF),
    ):
        node = folder / "host.xml"
        node.write_text(f"<node>{''.join(_domain(name, state) for name in GUESTS)}</node>")
        rules = {"schema": 1, "uris": [f"test://{node}"], "parallel": 2, "boot": "restore"}
        policy.write_text(json.dumps(rules))
        policy.chmod(0o600)
        before = look(root)
        command = [
            *traced.program(["stopvm", *words.split()]),
            "--policy",
            str(policy),
            "--state",
            f"{root}/var/lib/lvg",
        ]
        calls = recorded.calls(command, root, log, children=True)
        yield _name(words, before, state), before, calls, _judge(folder / "cut", before, calls, look(root))


def _name(words: str, before: Tree, state: int) -> str:
    if not any("/history/" in path for path in before):
        return f"stopvm {words}, the first ever"
    return f"stopvm {words}{', none runs' if words.startswith('stop') and state == _IS_OFF else ''}"


def _domain(name: str, state: int) -> str:
    return _DOMAIN.format(name, uuid.uuid5(uuid.NAMESPACE_DNS, name), state)


def _latest(root: Path, tree: Tree) -> tuple[Record | None, list[str]]:
    lay(root, tree)
    store = History(root / "var/lib/lvg")
    found = store.latest()
    return (found[1] if found else None), store.complaints


def _begun(calls: list[Call]) -> int:
    """Return after how many calls a record has been written: stopvm asks no guest before."""
    return next(n for n, call in enumerate(calls, 1) if call.name == "fsync" and call.paths[0].endswith("/history"))


def _judge(root: Path, before: Tree, calls: list[Call], after: Tree) -> Callable[[Tree, int, bool], list[str]]:
    old, new = _latest(root, before)[0], _latest(root, after)[0]
    known, begun = [_by_name(record) for record in (old, new)], _begun(calls)
    pending = [{entry.name for entry in record.pending()} if record else set() for record in (old, new)]

    def judge(tree: Tree, number: int, ended: bool) -> list[str]:
        record, said = _latest(root, tree)
        said = [f"a record is broken: {text}" for text in said]
        there = _by_name(record)
        if ended and record != new:
            said.append("the record is not the last one, though stopvm has ended")
        if number >= begun and {*known[1]} - {*there}:
            said.append(f"not on record: {', '.join(sorted({*known[1]} - {*there}))}")
        if {*there} not in ({*known[0]}, {*known[1]}):
            said.append("other guests are on record")
        waiting = {entry.name for entry in record.pending()} if record else set()
        if (pending[0] & pending[1]) - waiting:
            said.append(f"would not be brought back: {', '.join(sorted((pending[0] & pending[1]) - waiting))}")
        for name, entry in there.items():
            if not any(name in each and _on_the_way(entry, each[name]) for each in known):
                said.append(f"{name} has a verdict that it never had: {entry.verdict} {entry.restored}")
        return said

    return judge


def _by_name(record: Record | None) -> dict[str, Entry]:
    return {entry.name: entry for entry in [*record.guests, *record.carried]} if record else {}


def _on_the_way(entry: Entry, final: Entry) -> bool:
    return entry.verdict in ("", final.verdict) and entry.restored in ("", final.restored)
