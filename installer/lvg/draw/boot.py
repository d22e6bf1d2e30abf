"""The picture of the next boot: who comes back, after whom, and when."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lvg.draw.bars import NAME, WORDS, Scale, Wide, bar_width, indented, listed, seconds, table
from lvg.draw.terminal import plain
from lvg.timeline import Boot

_BY = {
    "libvirt": "started by libvirt (autostart)",
    "libvirt-guests": "started by libvirt-guests",
    "nobody": "stays off",
}


def pictures(boot: Boot) -> Iterator[RenderableType]:
    """Yield the next boot: a table of what stopvm starts, and a line about each other kind of guest."""
    yield Text("Next boot", style="bold")
    shown = any(start.by == "stopvm" for start in boot.starts)
    if shown:
        yield Wide(lambda width: _starts(boot, width))
        yield Text("seconds from when stopvm begins, once libvirt is up", style="dim")
    rest = [start for start in boot.starts if start.by == "nobody" or not shown]
    for by, why in dict.fromkeys((start.by, start.why) for start in rest):
        names = listed(start.name for start in rest if (start.by, start.why) == (by, why))
        yield indented(f"{_BY[by]}{f' ({why})' if why else ''}: {names}")


def _starts(boot: Boot, width: int) -> Table:
    some = [start for start in boot.starts if start.by != "nobody"]
    name = max(*(cell_len(plain(start.name, NAME)) for start in some), len("guest"))
    scale = Scale(max(boot.worst, 1.0) * 1.02, bar_width(width, name, WORDS))
    found = table(scale, name, ("after", WORDS), ("from", "at most"))
    last = -1
    for start in some:
        number, last = ("" if start.wave == last else str(start.wave + 1)), start.wave
        after = "autostart" if start.by == "libvirt" else plain(", ".join(start.after), WORDS)
        bar = scale.bar(start.begins, start.begins, start.begins_late)
        found.add_row(number, plain(start.name, NAME), after, seconds(start.begins), seconds(start.begins_late), bar)
    return found
