"""A disk that loses power: what may be on it, call by call, from what a program was seen to write.

Two rules of what a cut may leave behind:

"journal"  what ext4 with data=ordered and other journals do: names and attributes come to the disk in the order of
           the calls, at the latest with the next fsync of anything; what was written to a file since its last fsync is
           there, or half there, or not at all.
"strict"   what POSIX promises: fsync of a folder keeps the names in it, fsync of a file what the file holds, and
           nothing else. Each folder and each file for itself may be as after any of the calls since its last fsync.
"""

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from scratch import Item, Tree

_MOST = 64  # combinations at one cut; beyond it the extremes and a seeded sample


@dataclass(frozen=True)
class Call:
    """One successful call that changed something. Paths are inside the root; `data` is what was written."""

    name: str
    paths: tuple[str, ...]
    data: bytes = b""
    number: int = 0  # mode, or owner
    group: int = 0
    word: str = ""  # the target of a link, the name of an attribute


@dataclass(frozen=True)
class Node:
    """A file, link or folder at one moment. `names` are a folder's entries."""

    item: Item
    names: tuple[tuple[str, int], ...] = ()


@dataclass
class Disk:
    """Every node with all that it was since its last fsync; the last of these is what programs see."""

    nodes: list[list[Node]] = field(default_factory=list)
    commits: int = 0  # how often anything was synced

    @classmethod
    def holding(cls, tree: Tree) -> "Disk":
        """Return a disk that safely holds a tree."""
        disk = cls([[Node(Item("folder", b"", 0o755, (0, 0), ()))]])
        for path, item in tree.items():
            disk._name(path, disk._new(item))
        for states in disk.nodes:
            del states[:-1]
        return disk

    def _new(self, item: Item) -> int:
        self.nodes.append([Node(item)])
        return len(self.nodes) - 1

    def _now(self, number: int) -> Node:
        return self.nodes[number][-1]

    def _find(self, path: str) -> int:
        number = 0
        for part in filter(None, path.split("/")):
            number = dict(self._now(number).names)[part]
        return number

    def _name(self, path: str, number: int | None, gone: str = "") -> None:
        folder, _, name = path.rpartition("/")
        parent = self._find(folder)
        names = {each: value for each, value in self._now(parent).names if each not in (name, gone)}
        names |= {} if number is None else {name: number}
        self.nodes[parent].append(replace(self._now(parent), names=tuple(sorted(names.items()))))

    def _dress(self, path: str, **change: object) -> None:
        number = self._find(path)
        item = self._now(number).item._replace(**change)
        self.nodes[number].append(replace(self._now(number), item=item))

    def do(self, call: Call) -> None:
        """Let a program do a call. Raises ValueError for one that nobody thought of."""
        path = call.paths[0]
        match call.name:
            case "create":
                if not self.has(path):
                    self._name(path, self._new(Item("file", b"", call.number, (0, 0), ())))
            case "mkdir":
                self._name(path, self._new(Item("folder", b"", call.number, (0, 0), ())))
            case "symlink":
                self._name(path, self._new(Item("link", call.word.encode(), 0, (0, 0), ())))
            case "unlink" | "rmdir":
                self._name(path, None)
            case "rename":
                old, new = call.paths
                if old.rpartition("/")[0] != new.rpartition("/")[0]:
                    raise ValueError(f"{old} goes to another folder")
                self._name(new, self._find(old), gone=old.rpartition("/")[2])
            case "write":
                before = self._now(self._find(path)).item.data
                self._dress(path, data=before + call.data[: len(call.data) // 2])
                self._dress(path, data=before + call.data)
            case "truncate":
                self._dress(path, data=b"")
            case "chmod":
                self._dress(path, mode=call.number)
            case "chown":
                self._dress(path, owner=(call.number, call.group))
            case "setxattr":
                now = dict(self._now(self._find(path)).item.attributes)
                self._dress(path, attributes=tuple(sorted({**now, call.word: call.data}.items())))
            case "fsync":
                del self.nodes[self._find(path)][:-1]
                self.commits += 1
            case _:
                raise ValueError(f"nobody knows what {call.name} does to a disk")

    def has(self, path: str) -> bool:
        """True if programs see something there."""
        try:
            self._find(path)
        except KeyError:
            return False
        return True

    def seen(self) -> Tree:
        """Return what programs see."""
        return self._tree([len(states) - 1 for states in self.nodes])

    def after_a_cut(self, rule: str) -> Iterator[Tree]:
        """Yield the trees that may be on the disk if the power goes now."""
        loose = [number for number, states in enumerate(self.nodes) if len(states) > 1]
        if rule == "journal":
            loose = [number for number in loose if self._now(number).item.kind == "file"]
        ranges = [range(len(self.nodes[number])) for number in loose]
        for choice in _choices(ranges):
            states = [len(states) - 1 for states in self.nodes]
            for number, state in zip(loose, choice, strict=True):
                states[number] = state
            yield self._tree(states, dressed=rule == "journal")

    def _tree(self, states: list[int], *, dressed: bool = False) -> Tree:
        """Return the tree of these states of the nodes; `dressed` takes attributes from what programs see."""
        found, todo = dict[str, Item](), [("", 0)]
        while todo:
            path, number = todo.pop()
            node = self.nodes[number][states[number]]
            item = self._now(number).item._replace(data=node.item.data) if dressed else node.item
            if path:
                found[path] = item
            todo += [(f"{path}/{name}".lstrip("/"), inner) for name, inner in node.names]
        return dict(sorted(found.items()))


def _choices(ranges: list[range]) -> Iterable[tuple[int, ...]]:
    size = 1
    for each in ranges:
        size *= len(each)
    if size <= _MOST:
        return itertools.product(*ranges)
    low, high = tuple(0 for _ in ranges), tuple(each[-1] for each in ranges)
    ahead = [(*low[:place], each[-1], *low[place + 1 :]) for place, each in enumerate(ranges)]
    behind = [(*high[:place], 0, *high[place + 1 :]) for place in range(len(ranges))]
    dice = random.Random(len(ranges))
    return [low, high, *ahead, *behind, *(tuple(dice.choice(each) for each in ranges) for _ in range(_MOST // 2))]
