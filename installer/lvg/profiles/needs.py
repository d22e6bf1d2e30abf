"""Find circles in what guests need, from the rules alone, before any guest is known.

The rules speak in names and globs. Every literal name is a guest that may exist, and every glob gets one
invented guest that it matches; a circle among these is a circle on some host. `needs` is what the last
matching rule says, as everywhere in a profile.
"""

import fnmatch
import re
from collections.abc import Mapping, Sequence

# A character that no sensible guest name holds, so that an invented guest is hit by its own glob only.
_INVENTED = "\x1a"

Needs = tuple[str, Sequence[str]]


def circle(rules: Sequence[Needs]) -> tuple[str, ...]:
    """Return the names and globs of one circle, first one repeated at the end; () if there is none.

    `rules` are (match, needs) in the order of the profile. A guest that is among what its own rule needs
    only because of a glob is no circle (`match = "*"` with `needs = ["nas"]` means all others); a name
    or a glob that is written out on both sides is.
    """
    samples = _samples(rules)
    edges = {name: _edges(name, rules, samples) for name in samples}
    for start in sorted(edges):
        path = _walk(start, edges)
        if path:
            return tuple(samples[name] for name in path)
    return ()


def is_glob(text: str) -> bool:
    """True if `text` holds one of the wildcards of fnmatch."""
    return any(mark in text for mark in "*?[")


def _samples(rules: Sequence[Needs]) -> Mapping[str, str]:
    """Return guest names that may exist, each with the name or glob it was made from."""
    words = {word for match, needs in rules for word in (match, *needs)}
    return {_sample(word): word for word in sorted(words, reverse=True)}


def _sample(word: str) -> str:
    if not is_glob(word):
        return word
    invented = re.sub(r"\[([^]!])[^]]*\]", r"\1", word)
    return re.sub(r"[*?]|\[![^]]*\]", _INVENTED, invented)


def _edges(name: str, rules: Sequence[Needs], names: Mapping[str, str]) -> tuple[str, ...]:
    matching = [rule for rule in rules if fnmatch.fnmatchcase(name, rule[0])]
    if not matching:
        return ()
    match, needs = matching[-1]
    found = {other for other in names for need in needs if fnmatch.fnmatchcase(other, need)}
    spelled_out = match == names[name] and match in needs
    return tuple(sorted(found if spelled_out else found - {name}))


def _walk(start: str, edges: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the path from `start` back to itself, or (). Without recursion: a profile may be long."""
    came_from: dict[str, str] = {}
    todo = [start]
    while todo:
        here = todo.pop()
        for there in edges[here]:
            if there == start:
                return (*_back(here, start, came_from), start)
            if there not in came_from:
                came_from[there] = here
                todo.append(there)
    return ()


def _back(here: str, start: str, came_from: Mapping[str, str]) -> tuple[str, ...]:
    path = [here]
    while path[0] != start:
        path.insert(0, came_from[path[0]])
    return tuple(path)
