"""The corners of the editor: what it reads from a file's text alone, without any sh."""

import shutil
import subprocess

import pytest

from lvg.envfile import assignments, checked_edit, edit, notes, sdenv, without_effect
from lvg.envfile.edit import _TRIES, quote
from lvg.envfile.shtext import parse
from lvg.errors import LvgError

LITERAL = [
    ("a", "a"),
    ("'a b'", "a b"),
    ("'a\\'", "a\\"),
    ("''", ""),
    ('""', ""),
    ('a""b', "ab"),
    ("X~", "X~"),
    ('"a b"', "a b"),
    ("a\\ b", "a b"),
    ("a\\'b", "a'b"),
    ("a\\\\b", "a\\b"),
    ("a\\\nb", "ab"),
    ('"a\\\nb"', "ab"),
    ('"a\\$b\\`c\\"d\\\\e"', 'a$b`c"d\\e'),
    ('"a\\xb\\ c\\X"', "a\\xb\\ c\\X"),
    ('"\'"', "'"),
    ("'\"'", '"'),
    ("a'b'\"c\"d", "abcd"),
    ("b=c", "b=c"),
    ("'a'b'c'", "abc"),
    ("$", "$"),
    ("a$%b", "a$%b"),
    ('"$"', "$"),
    ('"a$ b"', "a$ b"),
    ("\"$'x'\"", "$'x'"),
    ("'$a`b`'", "$a`b`"),
    ("a~", "a~"),
    ("\\~", "~"),
    ('"~"', "~"),
    ("a#b", "a#b"),
    ("{a}", "{a}"),
    ("X\\", "X\\"),
]
ONLY_SH = [
    "$a", "${a}", "$1", "$@", "$*", "$#", "$?", "$$", "$!", "$-", '"$a"', '"x${a}y"', "x$a", "~", "x:~", "$'a'", '$"a"',
    "`a`", "`a\\`b`", "`a b`", "`\\``", '"`a b`"', "$(a b)", "$(a ')' b)", '$(a ")" b)', "$(a \\) b)", "$(a `)` b)",
    "$(a (b) c)", "${a:-b c}", '${a:-"}" }', "${a:-${b} }", "$((1 + (2 * 3) ))", '"$(a "b)" c)"', "a'b'$c", "$a'b'",
    '"$(a)$(b )"', "a\0b", '"a\0b"', "x'y'`z`",
    "$X", '"$X"', "$(a \\))",
]  # fmt: skip


def words(text: str) -> list[list[str]]:
    return [
        [word.raw for word in each.words] for chunk in parse(text.encode("latin-1")).chunks for each in chunk.commands
    ]


@pytest.mark.parametrize(("word", "value"), LITERAL[:-1])
def test_what_a_word_says_literally(word: str, value: str) -> None:
    found = assignments(f"A={word} B=2\n".encode())
    assert [(item.key, item.value) for item in found] == [("A", value), ("B", "2")]
    assert words(f"A={word} B=2\n") == [[f"A={word}", "B=2"]]


def test_a_backslash_that_ends_the_file_means_itself() -> None:
    assert assignments(b"A=X\\")[0].value == "X\\"


def test_a_real_shell_says_the_same() -> None:
    shell = shutil.which("dash") or "/bin/sh"
    script = "".join(f"A={word}\nprintf '%s\\0' \"$A\"\n" for word, _ in LITERAL[:-1])
    done = subprocess.run([shell, "-c", script], capture_output=True, check=True, text=True, env={})
    assert done.stdout.split("\0")[:-1] == [value for _, value in LITERAL[:-1]]


@pytest.mark.parametrize("word", ONLY_SH)
def test_what_only_sh_can_tell(word: str) -> None:
    found = assignments(f"A={word} B=2\n".encode())
    assert [(item.key, item.value) for item in found] == [("A", None), ("B", "2")]
    assert words(f"A={word} B=2\n") == [[f"A={word}", "B=2"]]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A='\nx", 3),
        ('A="\nx', 3),
        ("A=`\nx", 3),
        ("A=`\nx\\`", 3),
        ("A=$(\nx", 3),
        ("A=${\nx", 3),
        ("A=$((\n1)", 3),
        ("A=$(\n'\n)", 4),
        ('A=$(\n"\n)', 4),
        ("A=$(\n`\n)", 4),
        ('A="\n$(\n"', 5),
        ("if a\nthen b\n", 3),
        ("{ a\n", 3),
        ("(a\n", 3),
        ("f() (\na\n", 3),
        ("a (\n", 3),
        ("a\\\n(\nb", 4),
        ("cat <<E\nx\n", 3),
        ("cat <<E", 0),
        ("A='x'\n", 0),
        ("if a; then b; fi\n", 0),
        ("(a)\n", 0),
    ],
)
def test_what_never_ends_is_found_where_it_begins(text: str, line: int) -> None:
    assert parse(b"X=1\n\n" + text.encode()).unclosed == line


def test_an_open_quote_on_the_first_byte() -> None:
    assert parse(b"'").unclosed == 1
    assert parse(b"<<E\n").unclosed == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b;c\n", [["a", "b"], ["c"]]),
        ("A=1&&B=2||C=3|D=4\n", [["A=1"], ["B=2"], ["C=3"], ["D=4"]]),
        ("a 2>x b\n", [["a", "b"]]),
        ("a 2 >x b\n", [["a", "2", "b"]]),
        ("a b2>x\n", [["a", "b2"]]),
        ("2>x a\n", [["a"]]),
        ("a b 2>x\n", [["a", "b"]]),
        ("cat <<-E\nXE\nA=1\nE\nB=2\n", [["cat"], ["B=2"]]),
        (">x a\n", [["a"]]),
        ("a >&2 <&- >>y <>z >|w b\n", [["a", "b"]]),
        ("cat <<E\nA=1\nE\nB=2\n", [["cat"], ["B=2"]]),
        ("cat <<'E F'\nA=1\nE F\nB=2\n", [["cat"], ["B=2"]]),
        ("cat <<\\E\nA=1\nE\nB=2\n", [["cat"], ["B=2"]]),
        ("cat <<-E\n\tA=1\n\tE\nB=2\n", [["cat"], ["B=2"]]),
        ("cat <<-E\n  E\n\t\tE\nB=2\n", [["cat"], ["B=2"]]),
        ("cat <<E\n\tE\nA=1\nE\nB=2\n", [["cat"], ["B=2"]]),
        ("cat <<A <<B\nx\nA\ny\nB\nC=3\n", [["cat"], ["C=3"]]),
        ("cat <<E\n\n\nE\nB=2\n", [["cat"], ["B=2"]]),
        ("cat <<E\nE", [["cat"]]),
        ("for A in x; do B=1; done\n", [["for", "A", "in", "x"], ["B=1"]]),
        ("case A=1\nin *) B=2;; esac\n", [["case", "A=1"], ["in", "*"], ["B=2"]]),
        ("! A=1\n", [["A=1"]]),
        ("if a; then b; elif c; then d; else e; fi\n", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("f() { A=1; }\n", [["A=1"]]),
        ("a # b\n# c\nd#e\n", [["a"], ["d#e"]]),
        ("a \\\n b\n", [["a", "b"]]),
        ("a \\\nb\n", [["a", "b"]]),
        ("echo if fi\n", [["echo", "if", "fi"]]),
    ],
)
def test_the_commands_of_a_file(text: str, found: list[list[str]]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb\n\nc\n", ["a\n", "b\n", "\n", "c\n"]),
        ("a\nb", ["a\n", "b"]),
        ("if a\nthen b\nfi\nc\n", ["if a\nthen b\nfi\n", "c\n"]),
        ("while a\ndo b\ndone\nc\n", ["while a\ndo b\ndone\n", "c\n"]),
        ("until a\ndo b\ndone\nc\n", ["until a\ndo b\ndone\n", "c\n"]),
        ("for a in b\ndo c\ndone\nd\n", ["for a in b\ndo c\ndone\n", "d\n"]),
        ("case a in\nb) c;;\nesac\nd\n", ["case a in\nb) c;;\nesac\n", "d\n"]),
        ("{\na\n}\nb\n", ["{\na\n}\n", "b\n"]),
        ("(\na\n)\nb\n", ["(\na\n)\n", "b\n"]),
        ("f()\n{\na\n}\nb\n", ["f()\n{\na\n}\n", "b\n"]),
        ("a &&\nb\nc\n", ["a &&\nb\n", "c\n"]),
        ("a ||\n\nb\nc\n", ["a ||\n\nb\n", "c\n"]),
        ("a |\nb\nc\n", ["a |\nb\n", "c\n"]),
        ("a &\nb\n", ["a &\n", "b\n"]),
        ("a;\nb\n", ["a;\n", "b\n"]),
        ("A='x\ny'\nb\n", ["A='x\ny'\n", "b\n"]),
        ("a \\\nb\nc\n", ["a \\\nb\n", "c\n"]),
        ("cat <<E\nx\nE\nb\n", ["cat <<E\nx\nE\n", "b\n"]),
        ("# a \\\nb\n", ["# a \\\n", "b\n"]),
    ],
)
def test_a_line_may_stand_between_the_chunks_of_a_file(text: str, lines: list[str]) -> None:
    script = parse(text.encode())
    assert [script.text[chunk.start : chunk.end] for chunk in script.chunks] == lines
    first = [1 + text.count("\n", 0, chunk.start) for chunk in script.chunks]
    assert [chunk.line for chunk in script.chunks] == first


@pytest.mark.parametrize(
    ("text", "single"),
    [("A=1\n", True), ("A=1 # x\n", True), ("# x\n", True), ("a b\n", True), ("A=1;\n", False), ("A=1 >x\n", False),
     ("if a; then b; fi\n", False), ("{ A=1; }\n", False), ("! a\n", False), ("A='\n", False), ("a &\n", False)],
)  # fmt: skip
def test_whether_a_line_is_one_plain_command(text: str, single: bool) -> None:
    assert parse(text.encode()).chunks[0].single is single


@pytest.mark.parametrize(
    ("text", "depths"),
    [
        ("A=1\n", [0]),
        ("if A=1; then B=2; fi; C=3\n", [1, 1, 0]),
        ("(A=1); B=2\n", [1, 0]),
        ("f() { A=1; }\n", [1]),
        ("{ { A=1; }; }\n", [2]),
        ("for x in y; do A=1; done\n", [1, 1]),
    ],
)
def test_how_deep_a_command_stands(text: str, depths: list[int]) -> None:
    assert [command.depth for chunk in parse(text.encode()).chunks for command in chunk.commands] == depths


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"A=1\n", {"A": "1"}),
        (b"A=1", {"A": "1"}),
        (b" A = 1 \n", {"A": "1"}),
        (b"A=\n", {"A": ""}),
        (b"A=", {"A": ""}),
        (b"A", {}),
        (b"A\nB=1\n", {"B": "1"}),
        (b"# A=1\n;A=2\nB=3\n", {"B": "3"}),
        (b"export A=1\n", {"export A": "1"}),
        (b"A=1\rB=2\n", {"A": "1", "B": "2"}),
        (b"A=a b  c \t\n", {"A": "a b  c"}),
        (b"A=a \\  \n", {"A": "a  "}),
        (b"A='a \"\\b'\n", {"A": 'a "\\b'}),
        (b'A="a\'b"\n', {"A": "a'b"}),
        (b"A='a'  'b'\n", {"A": "ab"}),
        (b"A='a' b\n", {"A": "ab"}),
        (b"A=a'b'\n", {"A": "a'b'"}),
        (b'A="a\\"b\\\\c\\`d\\$e"\n', {"A": 'a"b\\c`d$e'}),
        (b'A="a\\xb\\\nc\\X"\n', {"A": "a\\xbc\\X"}),
        (b"A=a\\\nb\n", {"A": "ab"}),
        (b"A=\\xb\n", {"A": "xb"}),
        (b"A='a\nb'\n", {"A": "a\nb"}),
        (b"A='a", {"A": "a"}),
        (b'A="a', {"A": "a"}),
        (b'A="a\\', {"A": "a"}),
        (b"A=a\\", {"A": "a"}),
        (b"A=1\nA=2\n", {"A": "2"}),
        (b"A=x#y\n", {"A": "x#y"}),
        (b"A=x=y\n", {"A": "x=y"}),
        (b"X=1\nB=X\n", {"X": "1", "B": "X"}),
    ],
)
def test_what_systemd_reads(data: bytes, values: dict[str, str]) -> None:
    for reading in sdenv.read(data):
        assert (reading.values, reading.whole) == (values, True)


def test_older_systemds_let_a_backslash_carry_a_comment_on() -> None:
    older, newer = sdenv.read(b"# x \\\nA=1\nB=2\n")
    assert (older.values, newer.values) == ({"B": "2"}, {"A": "1", "B": "2"})
    assert (older.starts, newer.starts) == ({0, 10, 14}, {0, 6, 10, 14})
    assert len(sdenv.read(b"A=1\n")) == 1


@pytest.mark.parametrize(
    ("data", "starts"),
    [
        (b"", {0}),
        (b"\n", {0, 1}),
        (b"A=1\nB=2", {0, 4}),
        (b"A='\n'\n", {0, 6}),
        (b" A=1\n", {0, 5}),
        (b"A=1\r\n", {0, 5}),
        (b"A=1\r", {0}),
    ],
)
def test_where_a_line_may_begin_for_systemd(data: bytes, starts: set[int]) -> None:
    assert [reading.starts for reading in sdenv.read(data)] == [starts]


@pytest.mark.parametrize(
    ("data", "whole"), [(b"A=\xc3\xa9\n", True), (b"A=\xe9\n", False), (b"# \xe9\n", True), (b"# \0\n", False)]
)
def test_when_systemd_gives_up(data: bytes, whole: bool) -> None:
    assert sdenv.read(data)[0].whole is whole


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b"return 0\nON_BOOT=start\n",
            "line 2: ON_BOOT cannot be set: `return` on line 1 ends the file for sh, but systemd reads on",
        ),
        (
            b"A=1\nON_BOOT=start; return\nB=1\n",
            "line 2: ON_BOOT cannot be set: `return` on line 2 ends the file for sh, but systemd reads on",
        ),
        (
            b"#!/bin/sh \\\nreturn\n",
            "line 1: ON_BOOT cannot be set: there is no place after it where both sh and systemd would read our line",
        ),
        (
            b"#!/bin/sh \\\nreturn\nA=1\n",
            "line 1: ON_BOOT cannot be set: there is no place after it where both sh and systemd would read our line",
        ),
        (
            b"A=1\n: <<E\nON_BOOT=start",
            "line 1: ON_BOOT cannot be set: there is no place after it where both sh and systemd would read our line",
        ),
        (
            b"ON_BOOT=start; A='\n'; return\n",
            "line 1: ON_BOOT cannot be set: `return` on line 1 ends the file for sh, but systemd reads on",
        ),
    ],
)
def test_where_there_is_no_place_that_is_said(data: bytes, said: str) -> None:
    with pytest.raises(LvgError) as caught:
        edit(data, {"ON_BOOT": "ignore"})
    assert (caught.value.what, caught.value.todo) == (said, "Change it by hand, then run again.")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"export ON_BOOT=start\n", b"ON_BOOT=ignore\n"),
        (b"readonly ON_BOOT=start\n", b"ON_BOOT=ignore\n"),
        (b"export A=1 ON_BOOT=start\n", b"export A=1 ON_BOOT=start\nON_BOOT=ignore\n"),
        (b"export ON_BOOT=start A\n", b"export ON_BOOT=start A\nON_BOOT=ignore\n"),
        (b"ON_BOOT=start A=1\n", b"ON_BOOT=start A=1\nON_BOOT=ignore\n"),
        (b"{ ON_BOOT=start\n}\n", b"{ ON_BOOT=start\n}\nON_BOOT=ignore\n"),
        (b"ON_BOOT=start # why\r\n", b"# why\nON_BOOT=ignore\n"),
        (b"ON_BOOT=start # why", b"# why\nON_BOOT=ignore"),
        (b"ON_BOOT=start # FIX\n", b"# FIX\nON_BOOT=ignore\n"),
        (b"ON_BOOT=start # why \r\n", b"# why \nON_BOOT=ignore\n"),
        (b"echo ON_BOOT\xe9\nA=1\n", b"echo ON_BOOT\xe9\nON_BOOT=ignore\nA=1\n"),
        (b"#ON_BOOT=start\n: #ON_BOOT=x\n", b"#ON_BOOT=start\nON_BOOT=ignore\n: #ON_BOOT=x\n"),
        (b"\t##\tON_BOOT=start\nA=1\n", b"\t##\tON_BOOT=start\nON_BOOT=ignore\nA=1\n"),
        (b"#!/bin/sh\nreturn\n", b"#!/bin/sh\nON_BOOT=ignore\nreturn\n"),
        (b"if a; then return; fi\nA=1\n", b"if a; then return; fi\nA=1\nON_BOOT=ignore\n"),
        (b"A=1\n: <<E\nx", b"A=1\nON_BOOT=ignore\n: <<E\nx"),
        (b"read ON_BOOT\nA=1\n", b"read ON_BOOT\nON_BOOT=ignore\nA=1\n"),
        (b"echo $ON_BOOT ${ON_BOOT}\nA=1\n", b"echo $ON_BOOT ${ON_BOOT}\nA=1\nON_BOOT=ignore\n"),
        (b"ON_BOOT=x cmd\nA=1\n", b"ON_BOOT=x cmd\nA=1\nON_BOOT=ignore\n"),
        (b": ${ON_BOOT=x}\nA=1\n", b": ${ON_BOOT=x}\nON_BOOT=ignore\nA=1\n"),
        (b"echo NON_BOOT ON_BOOTS\nA=1\n", b"echo NON_BOOT ON_BOOTS\nA=1\nON_BOOT=ignore\n"),
        (b"ON_BOOT=ignore\nunset ON_BOOT\n", b"ON_BOOT=ignore\nunset ON_BOOT\nON_BOOT=ignore\n"),
        (b"ON_BOOT=ignore\n", b"ON_BOOT=ignore\n"),
        (b"ON_BOOT='ignore' # x\n", b"# x\nON_BOOT=ignore\n"),
        (b"\xef\xbb\xbf# x\nreturn\n", b"\xef\xbb\xbf# x\nON_BOOT=ignore\nreturn\n"),
    ],
)
def test_where_a_setting_is_put(old: bytes, new: bytes) -> None:
    assert edit(old, {"ON_BOOT": "ignore"}).data == new
    assert edit(new, {"ON_BOOT": "ignore"}).data == new


@pytest.mark.landlock
def test_a_line_that_surely_sets_something_else_is_not_blamed() -> None:
    text = b"#ON_BOOT=a\n\neval 'ON_BO''OT=start'\nZ=1\n"
    with pytest.raises(LvgError) as caught:
        checked_edit(text, {"ON_BOOT": "ignore"})
    assert caught.value.what == "line 3: because of it sh would see 'start' in ON_BOOT, not 'ignore'"


@pytest.mark.landlock
def test_a_setting_that_sh_never_comes_to_is_refused() -> None:
    with pytest.raises(LvgError) as caught:
        checked_edit(b"eval return\n#ON_BOOT=a\n", {"ON_BOOT": "ignore"})
    assert caught.value.what == "line 1: because of it sh would see nothing in ON_BOOT, not 'ignore'"


@pytest.mark.landlock
@pytest.mark.parametrize("before", [True, False])
def test_what_sh_sees_afterwards(before: bool) -> None:
    done = checked_edit(b"A=1\nB=$A\n", {"ON_BOOT": "ignore"}, ["A"], ["B", "C"], before=before)
    assert done.now == {"ON_BOOT": "ignore", "A": None, "B": "", "C": None}
    assert done.was == {"ON_BOOT": None, "A": "1"}
    same = checked_edit(done.data, {"ON_BOOT": "ignore"}, before=before)
    assert (same.now, same.data) == ({"ON_BOOT": "ignore"}, done.data)


def test_a_file_made_to_have_many_bad_places_is_given_up_soon() -> None:
    """sh is behind all these quotes, systemd inside of one."""
    text = b"ON_BOOT=start; A=1\n" + b": <<E\nB='\nE\n" + b"# x\n" * (_TRIES + 2)
    assert edit(text[:19], {"ON_BOOT": "ignore"}).data == text[:19] + b"ON_BOOT=ignore\n"
    assert edit(text, {"ON_BOOT": "ignore"}).data.startswith(b"ON_BOOT=start; A=1\nON_BOOT=ignore\n")


@pytest.mark.parametrize(
    ("data", "was"),
    [(b"A=1\nB='x y'\n", {"A": "1", "B": "x y", "C": None}), (b"A=1\nA=$B\n", {"A": None, "B": None, "C": None})],
)
def test_what_a_key_was(data: bytes, was: dict[str, str | None]) -> None:
    done = edit(data, {"A": "2"}, iter(["B", "C"]))
    assert done.was == was
    assert assignments(done.data)[-1].value == "2"
    assert b"B=" not in done.data


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), ("", ""), ("a b", "'a b'"), ("a$b", "'a$b'"), ("%+=,@", "%+=,@")]
)
def test_quoting(value: str, text: str) -> None:
    assert quote(value) == text


def test_bytes_that_are_not_utf8_are_written_as_they_are() -> None:
    done = edit(b"", {"A": "caf\udce9", "B": "\u00e9"})
    assert done.data == b"A='caf\xe9'\nB='\xc3\xa9'\n"
    assert edit(done.data, {"A": "caf\udce9"}).data == done.data


def test_what_cannot_be_quoted() -> None:
    with pytest.raises(LvgError) as caught:
        quote("a'b")
    assert caught.value.what == '"a\'b" cannot be written so that sh and systemd read the same'
    assert caught.value.todo == "Choose another value."


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"A=1\nA=2\nB=1\nA=3\n", ["A is set on lines 1, 2 and 4: the last one that sh reaches counts"]),
        (b"A=`x`\n", ["line 1: A comes from a command, which is not run to find out its value"]),
        (b"\nA=x$(y)\n", ["line 2: A comes from a command, which is not run to find out its value"]),
        (b"A=$((1+1))\n", []),
        (b"A=x\r\n", ["line 1: A ends in a carriage return, which sh takes for a part of the value"]),
        (b"a=1\n", ["line 1: a is not A: upper and lower case differ, so this line does nothing"]),
        (b"b=1\nB=$(x)\nB=1\n", []),
        (b"A = 1\n", ["line 1: `A = 1` sets nothing: sh takes it for a command to run"]),
        (b"A+=1\n", ["line 1: `A+=1` sets nothing: sh takes it for a command to run"]),
        (b"A= 1\n", ["line 1: `A= 1` sets nothing: sh takes it for a command to run"]),
        (b"A '" + b"x" * 90 + b"'\n", [f"line 1: `A '{'x' * 77}` sets nothing: sh takes it for a command to run"]),
        (
            b"\xef\xbb\xbfB=1\n",
            ["line 1: a byte order mark stands before it, so neither sh nor systemd sees an assignment there"],
        ),
        (b"B=\xff\n", ["systemd gives up on this file (a NUL byte, or a value that is not UTF-8); sh still reads it"]),
        (b"on_boot=1\nLIBVIRT_START = 1\n", [
            "line 1: on_boot is not ON_BOOT: upper and lower case differ, so this line does nothing",
            "line 2: `LIBVIRT_START = 1` sets nothing: sh takes it for a command to run",
        ]),
    ],
)  # fmt: skip
def test_what_the_admin_is_told(data: bytes, said: list[str]) -> None:
    assert list(notes(data, ["A"])) == said
    without = [note for note in said if "sets nothing" in note or "mark" in note or "gives up" in note]
    assert list(without_effect(data, ["A"])) == without
