"""The terminal that pictures are drawn on: its width, its colours, and the characters that its locale has."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.text import Text

from lvg.render import printable

NARROW = 80  # columns of a terminal that says nothing, and of a pipe
_SVG_WIDTH = 100


def has_unicode() -> bool:
    """True if the locale is a UTF-8 one. Python writes UTF-8 in the C locale too (PEP 540); the terminal may not."""
    said = next(filter(None, (os.environ.get(key) for key in ("LC_ALL", "LC_CTYPE", "LANG"))), "C")
    return said.lower().replace("-", "").endswith("utf8")


def terminal(width: int | None = None) -> Console:
    """Return stdout as a console: colours only on a terminal and without NO_COLOR, plain characters without UTF-8."""
    wide = width or (None if sys.stdout.isatty() else NARROW)
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(
        width=wide, no_color=plain or None, highlight=False, markup=False, emoji=False, soft_wrap=False, safe_box=True
    )


def show(pictures: Iterable[RenderableType], width: int | None = None) -> None:
    """Print pictures to stdout. Raises OSError."""
    console = terminal(width)
    for picture in pictures:
        console.print(picture)


def svg(pictures: Iterable[RenderableType], title: str) -> str:
    """Return pictures as an SVG document."""
    console = Console(file=io.StringIO(), record=True, width=_SVG_WIDTH, force_terminal=True, highlight=False)
    for picture in pictures:
        console.print(picture)
    return console.export_svg(title=title)


def words(text: str, style: str = "") -> Text:
    """Return text that guests, files or libvirt chose: on one line, with control characters shown, and no markup."""
    return Text(printable(text).replace("\n", "\\n"), style=style)
