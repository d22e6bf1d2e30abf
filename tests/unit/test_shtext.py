"""A file is split into chunks between which a line may stand."""

import pytest

from lvg.envfile.shtext import parse


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("A=1\nB=2\n", [1, 2]),
        ("A=1\nB=2", [1, 2]),
        ("", []),
        ("A='x\ny'\nB=2\n", [1, 3]),
        ('A="x\n$(echo ")\n")"\nB=2\n', [1, 4]),
        ("A=1\\\n2\nB=2\n", [1, 3]),
        ("if a\nthen\nb\nfi\nB=2\n", [1, 5]),
        ("while a\ndo\nb\ndone\nB=2\n", [1, 5]),
        ("for a in b\ndo\nc\ndone\nB=2\n", [1, 5]),
        ("case a in\na) b ;;\n(c) d\nesac\nB=2\n", [1, 5]),
        ("f()\n{\na\n}\nB=2\n", [1, 5]),
        ("( a\nb )\nB=2\n", [1, 3]),
        ("a &&\nb\nB=2\n", [1, 3]),
        ("a |\n# c\nb\nB=2\n", [1, 4]),
        ("a <<E\nA=1\nE\nB=2\n", [1, 4]),
        ("a <<-'E' <<F\nx\n\tE\ny\nF\nB=2\n", [1, 6]),
        ("# it's\nB=2\n", [1, 2]),
        ("A=a#b\nB=2\n", [1, 2]),
        ("A=$((1 + (2)))\nB=${C:-'}'}\nD=`e\nf`\nG=1\n", [1, 2, 3, 5]),
        ("echo if then\nB=2\n", [1, 2]),
        ("A=x # if\nB=2\n", [1, 2]),
    ],
)
def test_chunks(text: str, lines: list[int]) -> None:
    script = parse(text.encode())
    assert [chunk.line for chunk in script.chunks] == lines
    assert "".join(script.text[chunk.start : chunk.end] for chunk in script.chunks) == text
    assert not script.unclosed


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\nB='x\n", 2),
        ('A=1\n\nB="x\n', 3),
        ("A=$(\n", 1),
        ("A=`x\n", 1),
        ("A=1\nif a\n", 2),
        ("a <<E\nb\n", 1),
        ("A=${x\n", 1),
    ],
)
def test_what_never_ends_is_found_where_it_begins(text: str, line: int) -> None:
    assert parse(text.encode()).unclosed == line


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("a", "a"),
        ("'a b'", "a b"),
        ('"a b"', "a b"),
        ("a\\ b", "a b"),
        ("a'b'\"c\"", "abc"),
        ('"a\\$b\\n"', "a$b\\n"),
        ('"a\\\nb"', "ab"),
        ("a\\\nb", "ab"),
        ("''", ""),
        ("$", "$"),
        ("$A", None),
        ('"${A}"', None),
        ("$(a b)", None),
        ("`a`", None),
        ("~", None),
        ("a~", "a~"),
        ("*", "*"),
        ("a\\", "a\\"),
    ],
)
def test_literal_values(raw: str, value: str | None) -> None:
    (chunk,) = parse(raw.encode()).chunks
    (word,) = chunk.commands[0].words
    assert word.value == value
