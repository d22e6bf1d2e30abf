"""In which order guests stop: pure functions of what needs what."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

_CIRCLES = 10  # that are said


def dependants(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> tuple[dict[str, frozenset[str]], list[str]]:
    """Return for each guest those that need it (and so stop before it), and what is wrong with `needs`.

    `needs` maps a guest to names or globs. A need that closes a circle is dropped and reported.
    """
    circles: list[tuple[str, str]] = []
    after: dict[str, set[str]] = {name: set() for name in names}
    named = {glob: _named(after, glob) for glob in {glob for name in names for glob in needs.get(name, ())}}
    for name in names:
        wanted = [other for glob in needs.get(name, ()) for other in named[glob] if other != name]
        before = _before(after, name) if wanted else set()
        for other in wanted:
            if other in before:
                circles.append((name, other))
            else:
                after[other].add(name)
    return {name: frozenset(found) for name, found in after.items()}, list(_said(circles))


def _said(circles: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield a line for each need that is dropped; a glob that matches hundreds of guests may close thousands."""
    for name, other in circles[:_CIRCLES]:
        yield f"needs: {name} and {other} need each other; that {name} needs {other} is ignored"
    if len(circles) > _CIRCLES:
        yield f"needs: {len(circles) - _CIRCLES} more close a circle and are ignored"


def _named(names: Mapping[str, object], glob: str) -> list[str]:
    return [glob] if glob in names else [name for name in names if fnmatchcase(name, glob)]


def _before(after: Mapping[str, set[str]], start: str) -> set[str]:
    """Return those that, directly or not, stop before `start`."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        new = after[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


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
