"""Which guests a stop by hand is about: those that --only names, less those that --except names. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Selection:
    """Names or globs, as in the policy's rules. Empty: all guests."""

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """True if it may leave a guest out."""
        return bool(self.only or self.without)

    def takes(self, name: str) -> bool:
        """True if a guest of this name is to be stopped."""
        wanted = not self.only or any(fnmatchcase(name, glob) for glob in self.only)
        return wanted and not any(fnmatchcase(name, glob) for glob in self.without)

    def unmatched(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the options that match none of these guests, as they stand on the command line."""
        known = list(names)
        given = [("--only", glob) for glob in self.only] + [("--except", glob) for glob in self.without]
        return tuple(f"{option} {glob}" for option, glob in given if not any(fnmatchcase(name, glob) for name in known))


EVERYTHING = Selection()


def still_needed(stopped: Iterable[str], left_out: Iterable[str], needs: Callable[[str], Sequence[str]]) -> list[str]:
    """Return a line for each guest that is left out and runs on without one that it needs."""
    names = list(stopped)
    lines = []
    for guest in left_out:
        lost = [name for name in names if any(fnmatchcase(name, glob) for glob in needs(guest))]
        if lost:
            lines.append(f"{guest} is left out and runs on, but needs {', '.join(lost)}")
    return lines
