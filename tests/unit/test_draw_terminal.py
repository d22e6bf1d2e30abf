"""What people see: commands on a real terminal of 80 columns, in a pipe, in plain and in UTF-8 locales."""

from __future__ import annotations

import subprocess
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


@pytest.fixture
def root(debian: Any) -> Path:
    """A host with a history of guests with names of every kind."""
    debian.install("--profile", "graceful")
    clean = [entry(name, seconds=2.5 + place) for place, name in enumerate(NAMES)]
    forced = [entry(name, "saved", 244.2, "save", detail="agent: " + name, restored="resumed") for name in NAMES]
    write(debian.root, 1, record(clean, carried=forced))
    write(debian.root, 2, record([entry(name, "lost", 0.0, "", detail="lost power") for name in NAMES], kind="cut"))
    write(debian.root, 3, record([*forced, entry("lost", "", 0.0, "")], exit_code=2, complaints=NAMES))
    return debian.root


def command(verb: str, root: Path) -> list[str]:
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


def test_colours_say_what_was_lost(root: Path) -> None:
    for verb, word in (("report", "lost power"), ("status", "lost power")):
        seen = screen.screen(on_terminal(verb, root))
        row = next(number for number, line in enumerate(seen.display) if word in line)
        column = seen.display[row].index(word)
        assert seen.buffer[row][column].fg == "red"


@pytest.mark.parametrize("verb", [*VERBS, *DRAWN])
def test_no_color_means_no_escapes_on_a_terminal(root: Path, verb: str) -> None:
    assert b"\x1b" not in on_terminal(verb, root, NO_COLOR="1")


def test_an_empty_no_color_is_none(root: Path) -> None:
    assert b"\x1b[" in on_terminal("report", root, NO_COLOR="")


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("verb", [*VERBS, *DRAWN])
def test_a_pipe_gets_no_escapes(root: Path, verb: str, locale: str) -> None:
    environment = {**screen.ENVIRONMENT, "LC_ALL": locale, "FORCE_COLOR": "1", "COLUMNS": "20"}
    done = subprocess.run(command(verb, root), cwd=CHECKOUT, env=environment, capture_output=True, check=True)
    assert b"\x1b" not in done.stdout
    assert done.stdout
    assert locale == "C.UTF-8" or verb == "status" or done.stdout.isascii()


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
