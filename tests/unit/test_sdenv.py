"""The model of systemd's EnvironmentFile= parser, against what systemd 252 was seen to read."""

import csv
import os
from pathlib import Path

import pytest

from lvg.envfile import sdenv

CORPUS = os.environ.get("LVG_CORPUS", "")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"K=v\n", "v"),
        (b'K="v"\n', "v"),
        (b"K='a b'\n", "a b"),
        (b"K=a b\n", "a b"),
        (b"K=v", "v"),
        (b"K=v\r\n", "v"),
        (b"  K = v  \n", "v"),
        (b"K=v # c\n", "v # c"),
        (b'K="v" # c\n', "v# c"),
        (b"K=a\nK=b\n", "b"),
        (b"K=a; J=1\n", "a; J=1"),
        (b"; K=a\nK=b\n", "b"),
        (b"export K=v\n", None),
        (b"K=$A\n", "$A"),
        (b'K="a \\\nb"\n', "a b"),
        (b"K=a\\\nb\n", "ab"),
        (b'K="a\nb"\n', "a\nb"),
        (b'K="v\nJ=1\n', "v\nJ=1\n"),
        (b"# don't\nK=v\n", "v"),
        (b'K="a\\$b\\n"\n', "a$b\\n"),
        (b"K='a\\b'\n", "a\\b"),
        (b"K=\n", ""),
        (b"K\nK2=1\n", None),
        (b"\xef\xbb\xbfK=v\n", None),
        (b"", None),
    ],
)
def test_values(data: bytes, value: str | None) -> None:
    assert {reading.values.get("K") for reading in sdenv.read(data)} == {value}


def test_a_backslash_carries_a_comment_on_before_254_only() -> None:
    old, new = sdenv.read(b"# note \\\nK=v\n")
    assert "K" not in old.values
    assert new.values["K"] == "v"
    assert 9 not in old.starts
    assert 9 in new.starts


def test_lines_inside_a_value_are_no_place_for_a_key() -> None:
    (reading,) = sdenv.read(b'A="x\ny"\nB=1\n')
    assert sorted(reading.starts) == [0, 8, 12]


@pytest.mark.parametrize("data", [b"K=a\0b\n", b"# \0\nK=a\n", b"K=caf\xe9\n"])
def test_systemd_gives_up_on_the_whole_file(data: bytes) -> None:
    assert not any(reading.whole for reading in sdenv.read(data))


def test_a_byte_that_is_not_utf8_in_a_comment_is_fine() -> None:
    assert all(reading.whole and reading.values == {"K": "v"} for reading in sdenv.read(b"# caf\xe9\nK=v\n"))


@pytest.mark.skipif(not CORPUS, reason="LVG_CORPUS is not set")
def test_the_measured_cases() -> None:
    with Path(CORPUS, "configs", "parsers.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    checked = 0
    for case, raw, *_, seen in rows:
        if seen.startswith("(n/a"):
            continue
        data = raw.encode("latin-1", "replace").decode("unicode_escape").encode("latin-1")
        want = (
            seen[1:-1].replace("\\n", "\n")
            if "multiline" in case or "unbalanced" in case
            else seen[1:-1].replace("\\\\", "\\")
        )
        # measured through a specifier that trims, and shows an absent key as nothing
        got = sdenv.read(data)[0].values.get("K", "")
        assert got.strip() == want.strip(), case
        checked += 1
    assert checked > 40
