"""What people see: commands on a real terminal of 80 columns, in a pipe, in plain and in UTF-8 locales."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from drawn import NAMES
from lvg.draw import terminal
from shutdowns import entry, record, write

pytest.importorskip("pyte", reason="needs python3-pyte, a terminal emulator")

import screen

CHECKOUT = Path(__file__).resolve().parents[2]
LOCALES = ["C", "C.UTF-8"]
DRAWN = ["doctor", "plan"]
VERBS = {"report": ["report", "--last", "9"], "status": ["status"]}


@pytest.fixture(scope="module")
def root(make_host: Callable[..., Any], memory_folder: Path) -> Path:
    """A host with a history of guests with names of every kind. Nothing here changes it."""
    debian = make_host(Path(tempfile.mkdtemp(dir=memory_folder)))
    debian.install("--profile", "graceful")
    clean = [entry(name, seconds=2.5 + place) for place, name in enumerate(NAMES)]
    forced = [entry(name, "saved", 244.2, "save", detail="agent: " + name, restored="resumed") for name in NAMES]
    write(debian.root, 1, record(clean, carried=forced))
    write(debian.root, 2, record([entry(name, "lost", 0.0, "", detail="lost power") for name in NAMES], kind="cut"))
    write(debian.root, 3, record([*forced, entry("lost", "", 0.0, "")], exit_code=2, complaints=NAMES))
    return debian.root


def command(verb: str, root: Path) -> list[str]:
    if verb == "all":  # in one process: Rich takes its time to load
        return ["/usr/bin/python3", "tests/unit/drawn.py", "all", str(root)]
    if verb in DRAWN:
        return ["/usr/bin/python3", "tests/unit/drawn.py", verb]
    return ["/usr/bin/python3", "bin/lvg", *VERBS[verb], "--root", str(root)]


def on_terminal(verb: str, root: Path, **environment: str) -> bytes:
    code, written = screen.on_terminal(command(verb, root), {**screen.ENVIRONMENT, **environment}, CHECKOUT)
    assert code == 0, written
    return written


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("verb", [*VERBS, *DRAWN])
def test_every_line_fits_and_every_character_is_whole(root: Path, verb: str, locale: str) -> None:
    written = on_terminal(verb, root, LC_ALL=locale)
    lines = screen.shown(written)
    assert lines == screen.sent(written) or verb == "status"  # a line that is too wide would go on in the next
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(lines)
    assert b"\x1b" in written


def parts(written: bytes) -> dict[str, bytes]:
    """Return what each of the four wrote, by name."""
    found = re.split(rb"(?:\A|(?<=\n))== (\w+)\r?\n", written)[1:]
    said = {name.decode(): text for name, text in zip(found[::2], found[1::2], strict=True)}
    assert said.keys() == {*VERBS, *DRAWN}
    assert all(said.values())
    return said


def test_colours_say_what_was_lost_and_an_empty_no_color_is_none(root: Path) -> None:
    said = parts(on_terminal("all", root, NO_COLOR=""))
    for verb in VERBS:
        seen = screen.screen(said[verb])
        row = next(number for number, line in enumerate(seen.display) if "lost power" in line)
        column = seen.display[row].index("lost power")
        assert seen.buffer[row][column].fg == "red"
    assert all(b"\x1b[" in text for text in said.values())


def test_no_color_means_no_escapes_on_a_terminal(root: Path) -> None:
    said = parts(on_terminal("all", root, NO_COLOR="1"))
    assert [verb for verb, text in said.items() if b"\x1b" in text] == []


@pytest.mark.parametrize("locale", LOCALES)
def test_a_pipe_gets_no_escapes(root: Path, locale: str) -> None:
    environment = {**screen.ENVIRONMENT, "LC_ALL": locale, "FORCE_COLOR": "1", "COLUMNS": "20"}
    done = subprocess.run(command("all", root), cwd=CHECKOUT, env=environment, capture_output=True, check=True)
    for verb, text in parts(done.stdout).items():
        assert b"\x1b" not in text
        assert locale == "C.UTF-8" or verb == "status" or text.isascii()


def test_a_terminal_of_a_c_locale_gets_plain_characters(root: Path) -> None:
    assert on_terminal("report", root, LC_ALL="C").isascii()
    assert on_terminal("report", root, LC_ALL="", LANG="C").isascii()
    assert not on_terminal("report", root, LC_ALL="", LANG="en_US.UTF-8").isascii()


def test_the_emulator_would_show_a_line_that_is_too_wide() -> None:
    code, written = screen.on_terminal(["printf", "%81s\\n", "x"], screen.ENVIRONMENT, CHECKOUT)
    assert code == 0
    assert screen.shown(written) != screen.sent(written)


@pytest.mark.parametrize(
    ("text", "width", "unicode", "plain"),
    [
        ("web1", 4, "web1", "web1"),
        ("web1", 3, "we…", "we~"),
        ("日本語", 5, "日本…", "\\u65~"),
        ("a\tb\n\x1b", 40, "a\\tb\\n\\x1b", "a\\tb\\n\\x1b"),
        ("x" * 65536, 3, "xx…", "xx~"),
        ("", 3, "", ""),
    ],
)
def test_a_text_is_cut_to_columns(
    monkeypatch: pytest.MonkeyPatch, text: str, width: int, unicode: str, plain: str
) -> None:
    for locale, wanted in (("C.UTF-8", unicode), ("C", plain)):
        monkeypatch.setenv("LC_ALL", locale)
        assert terminal.plain(text, width) == wanted


@pytest.mark.parametrize("path", sorted((CHECKOUT / "docs/pictures").glob("*.svg")), ids=lambda path: path.stem)
def test_a_picture_of_the_documentation_needs_nothing_from_the_web(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("http") == text.count('xmlns="http://www.w3.org/2000/svg"') == 1
    assert ElementTree.fromstring(text).tag.endswith("svg")
