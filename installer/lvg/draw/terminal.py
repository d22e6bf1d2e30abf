"""The terminal that pictures are drawn on: its width, its colours, and the characters that its locale has."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.text import Text

from lvg.colours import colours_wanted, one_line, printable
from lvg.errors import LvgError

NARROW = 80  # columns of a terminal that says nothing, of a pipe, and of a picture in a file
_MOST_WORDS = 400  # characters of one text that somebody else chose
# What Rich fills in. Its own form loads a font from the web; a picture must look the same without it.
_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px; \
line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>\
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class _Screen(Console):
    """A console that draws lines and boxes of plain characters where the locale has no others."""

    @property
    def encoding(self) -> str:
        """What Rich asks to choose between plain and other characters."""
        return "utf-8" if has_unicode() else "ascii"


def has_unicode() -> bool:
    """True if the locale is a UTF-8 one. Python writes UTF-8 in the C locale too (PEP 540); the terminal may not."""
    keys = ("LC_ALL", "LC_CTYPE", "LANG")
    if sys.flags.utf8_mode and os.environ.get("LC_CTYPE") == "C.UTF-8":
        keys = ("LC_ALL", "LANG", "LANG")  # in a C locale Python sets LC_CTYPE itself (PEP 538)
    said = next(filter(None, (os.environ.get(key) for key in keys)), "C")
    return said.lower().replace("-", "").endswith("utf8")


def terminal(width: int | None = None) -> Console:
    """Return stdout as a console: colours only on a terminal and without NO_COLOR, plain characters without UTF-8."""
    return _Screen(
        width=width or (None if sys.stdout.isatty() else NARROW),
        color_system="auto" if colours_wanted() else None,  # whatever FORCE_COLOR says, which is for other programs
        no_color=not colours_wanted(),
        highlight=False,
        markup=False,
        emoji=False,
    )


def show(pictures: Iterable[RenderableType], width: int | None = None) -> None:
    """Print pictures to stdout. Raises OSError."""
    console = terminal(width)
    with console.capture() as captured:
        for picture in pictures:
            console.print(picture)
    text = captured.get()
    lines = "".join(f"{line.rstrip(' ')}\n" for line in text.split("\n")[:-1])
    sys.stdout.write(lines if has_unicode() else lines.replace("…", "~").encode("ascii", "replace").decode())


def svg(pictures: Iterable[RenderableType], title: str) -> str:
    """Return pictures as an SVG document, which needs nothing from the web."""
    console = _Screen(
        file=io.StringIO(),
        record=True,
        width=NARROW,
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for picture in pictures:
        console.print(picture)
    return console.export_svg(title=title, code_format=_SVG)


def write(path: str, text: str) -> None:
    """Write a picture to the file that the admin named, as a whole or not at all; a device gets it as it is.

    Raises LvgError if that cannot be done; what was there before is there still.
    """
    try:
        place, is_file = _place(path)
        if is_file:
            _replace(place, text)
        else:
            place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LvgError(f"{path} cannot be written: {error.strerror}", "Give another FILE.") from None


def _place(path: str) -> tuple[Path, bool]:
    """Return where a picture goes, and False for a device or a pipe. Raises OSError; LvgError for another user's link.

    In a folder for all, such a link would lead root where that user wants, whatever fs.protected_symlinks says.
    """
    place = Path(os.path.realpath(os.path.dirname(path)), os.path.basename(path))  # noqa: PTH119, PTH120
    try:
        found = place.lstat()
    except FileNotFoundError:
        return place, True
    if not stat.S_ISREG(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise LvgError(f"{path} is a link, pipe or folder of another user's", "Give another FILE.")
    if not stat.S_ISLNK(found.st_mode):
        return place, stat.S_ISREG(found.st_mode)
    target = Path(os.path.realpath(place))
    return (place, False) if place.exists() and not place.is_file() else (target, True)


def _replace(target: Path, text: str) -> None:
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".lvg-", suffix=".svg")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(handle, mode)
            os.fsync(handle)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def words(text: str, style: str = "") -> Text:
    """Return text that guests, files or libvirt chose: on one line, with control characters shown, and no markup.

    A text without end is cut, and where the locale has plain characters only, the others are shown by number.
    """
    return Text(plain(text), style=style)


def plain(text: str, width: int = _MOST_WORDS) -> str:
    """Return such a text as a string, in at most `width` columns of the terminal."""
    shown = one_line(printable(text[: width + 1])).replace("\t", "\\t")
    if not has_unicode():
        shown = shown.encode("ascii", "backslashreplace").decode()
    if cell_len(shown) <= width:
        return shown
    dots = "…" if has_unicode() else "~"
    return set_cell_size(shown, width - 1).rstrip() + dots
