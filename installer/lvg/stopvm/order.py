"""In which order guests stop: pure functions of what needs what."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase


def dependants(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> tuple[dict[str, frozenset[str]], list[str]]:
    """Return for each guest those that need it (and so stop before it), and what is wrong with `needs`.

    `needs` maps a guest to names or globs. A need that closes a circle is dropped and reported.
    """
    wrong: list[str] = []
    after: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        for other in _named(after, needs.get(name, ())):
            if _reaches(after, name, other):
                wrong.append(f"needs: {name} and {other} need each other; that {name} needs {other} is ignored")
            elif other != name:
                after[other].add(name)
    return {name: frozenset(found) for name, found in after.items()}, wrong


def _named(names: Mapping[str, object], globs: Iterable[str]) -> list[str]:
    found: list[str] = []
    for glob in globs:
        found += [glob] if glob in names else [name for name in names if fnmatchcase(name, glob)]
    return found


def _reaches(after: Mapping[str, Iterable[str]], start: str, goal: str) -> bool:
    """True if `goal` is among those that, directly or not, stop before `start`."""
    seen, todo = {start}, [start]
    while todo:
        for name in after[todo.pop()]:
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return False


def waves(after: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return the number of the wave in which each guest is stopped; 0 is first."""
    found: dict[str, int] = {}
    todo = list(after)
    while todo:
        ready = [name for name in todo if all(other in found for other in after[name])]
        if not ready:
            raise ValueError("a circle of needs")
        for name in ready:
            found[name] = 1 + max((found[other] for other in after[name]), default=-1)
        todo = [name for name in todo if name not in found]
    return found
