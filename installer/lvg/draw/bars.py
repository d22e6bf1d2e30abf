"""Tables with bars on a scale of seconds: what is expected solid, the worst case light, and marks where time ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lvg.draw.terminal import has_unicode, plain, words

NAME = 20  # columns of a guest's name, at most
WORDS = 18  # columns of what is said beside it, at most
NUMBERS = 8  # columns of a number of seconds
_WIDEST = 120
_IN_LINE = 20  # guests that are named in one line


@dataclass(frozen=True)
class Mark:
    """A point in time with a letter for it. `ends`: what comes later is too late."""

    letter: str
    seconds: float
    ends: bool = True


@dataclass(frozen=True)
class Scale:
    """`end` seconds are `width` columns. Marks beyond the end are not drawn."""

    end: float
    width: int
    marks: tuple[Mark, ...] = ()

    def bar(self, begins: float, ends: float, latest: float) -> Text:
        """Return a bar from `begins` to `ends`, and lighter from there to `latest`."""
        full, light, line = ("█", "░", "│") if has_unicode() else ("#", "-", "|")
        last_good = min((self._column(mark.seconds) for mark in self._drawn() if mark.ends), default=self.width)
        cells = [(" ", "")] * self.width
        solid = self._column(ends) if ends > begins else -1
        for place in range(self._column(begins), self._column(latest) + 1):
            colour = "red" if place > last_good else "green" if place <= solid else "yellow"
            cells[place] = (full if place <= solid else light, colour)
        for mark in self._drawn():
            cells[self._column(mark.seconds)] = (line, "bold red" if mark.ends else "dim")
        return Text.assemble(*cells)

    def ruler(self) -> Text:
        """Return the head of the column in two lines: its ends, and the letters of the marks."""
        end = f"{self.end:.0f} s"
        letters = [" "] * self.width
        for mark in self._drawn():
            letters[self._column(mark.seconds)] = mark.letter
        return Text(f"0{end:>{self.width - 1}}\n{''.join(letters)}")

    def _drawn(self) -> Iterator[Mark]:
        return (mark for mark in self.marks if mark.seconds <= self.end)

    def _column(self, seconds: float) -> int:
        return min(max(int(seconds / self.end * self.width), 0), self.width - 1)


@dataclass(frozen=True)
class Wide:
    """A picture that uses the width there is, in reason."""

    build: Callable[[int], RenderableType]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the picture, as Rich wants it."""
        yield self.build(min(options.max_width, _WIDEST))


def bar_width(width: int, name: int, what: int) -> int:
    """Return the columns that a table of this width has for bars."""
    spaces = 5
    return max(width - 2 - name - what - 2 * NUMBERS - spaces, 10)


def table(scale: Scale, name: int, what: tuple[str, int], numbers: tuple[str, str]) -> Table:
    """Return an empty table: wave, guest, `what` with its width, two `numbers`, and bars."""
    found = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    found.add_column("", width=2, no_wrap=True, overflow="crop", justify="right")
    for head, width in (("guest", name), what):
        found.add_column(head, width=width, no_wrap=True, overflow="crop")
    for head in numbers:
        found.add_column(head, width=NUMBERS, no_wrap=True, overflow="crop", justify="right")
    found.add_column(scale.ruler(), width=scale.width, no_wrap=True, overflow="crop")
    return found


def seconds(value: float) -> str:
    """Return seconds for a column of NUMBERS."""
    return f"{value:.0f} s" if value < 9_999.5 else f"{value / 3600:.0f} h"


def listed(names: Iterable[str]) -> str:
    """Return the names of guests in a line, not of all if they are many."""
    found = [plain(name, NAME) for name in names]
    more = f" and {len(found) - _IN_LINE} more" if len(found) > _IN_LINE else ""
    return f"{', '.join(found[:_IN_LINE])}{more}"


def indented(text: str) -> Padding:
    """Return a line of text below another one."""
    return Padding(words(text), (0, 0, 0, 2))
