"""The editor: our keys get their values for sh and systemd alike, every other byte stays."""

import csv
import difflib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from lvg import envfile
from lvg.envfile import assignments, checked_edit, edit, quote, sdenv, sh_values
from lvg.errors import LvgError
from lvg.settings import OPENRC_KEYS, SETTINGS

pytestmark = [pytest.mark.landlock, pytest.mark.usefixtures("sh_asked_once")]

OWN = Path(__file__).parents[1] / "data" / "configs"
FOLDERS = [OWN, *([Path(os.environ["LVG_CORPUS"], "configs")] if os.environ.get("LVG_CORPUS") else [])]
FULL = {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown", "PARALLEL_SHUTDOWN": "100", "SHUTDOWN_TIMEOUT": "240"}
ALL_KEYS = (*SETTINGS, *OPENRC_KEYS)
# the measurement ran commands, and gave the keys no built-in default first; libvirt-guests does
OTHERWISE = {
    "synthetic-command-substitution.conf": {"PARALLEL_SHUTDOWN": ""},
    "synthetic-variable-refs.conf": {"URIS": "default lxc:///system"},
}


def corpus() -> list[tuple[Path, str]]:
    found = []
    for folder in FOLDERS:
        with (folder / "effective.tsv").open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, delimiter="\t")
            found += [(folder / row["file"], row["effective_dash"]) for row in rows]
    return found


CORPUS = [pytest.param(path, seen, id=path.name) for path, seen in corpus()]
READABLE = [pytest.param(path, id=path.name) for path, seen in corpus() if seen != "DIES"]


def real_sh(data: bytes, keys: Mapping[str, str], tmp_path: Path) -> dict[str, str]:
    """Source the file as libvirt-guests does, with dash where there is one."""
    path = tmp_path / "sourced"
    path.write_bytes(data)
    show = "".join(f"printf '%s\\0' \"${key}\"; " for key in keys)
    shell = shutil.which("dash") or "/bin/sh"
    done = subprocess.run([shell, "-c", f". {path} >/dev/null 2>&1; {show}"], capture_output=True, check=True, env={})
    return dict(zip(keys, done.stdout.decode("utf-8", "surrogateescape").split("\0"), strict=False))


def assert_only_our_lines(old: bytes, new: bytes, values: Mapping[str, str]) -> None:
    """Every changed place takes away a line of one of our keys, if any, and adds only our lines and its remark."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    ours = {f"{key}={quote(value)}\n".encode() for key, value in values.items()}
    for what, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what == "equal":
            continue
        removed, added = b"".join(before[a:b]), after[c:d]
        if removed and not removed.endswith(b"\n") and removed + b"\n" == added[0]:
            added = added[1:]  # the last line got its missing newline, for ours to follow
            removed = b""
        assert not removed or any(re.search(rb"^\s*(export )?" + key.encode() + b"=", removed, re.M) for key in values)
        for line in added:
            assert line in ours or line + b"\n" in ours or (line.startswith(b"#") and line.strip() in removed)


@pytest.mark.parametrize(("path", "seen"), CORPUS)
def test_sh_values_are_what_sh_sees(path: Path, seen: str) -> None:
    data = path.read_bytes()
    if seen == "DIES":
        with pytest.raises(LvgError, match=r"^line \d+: ") as caught:
            sh_values(data, ALL_KEYS)
        assert caught.value.todo
        return
    expected = {key: value.replace("\\r", "\r") for key, value in re.findall(r'(\w+)="(.*?)"', seen)}
    expected |= OTHERWISE.get(path.name, {})
    got = {key: value for key, value in sh_values(data, ALL_KEYS).items() if value is not None}
    for key, value in expected.items():
        length = re.fullmatch(r"\.\.\.(\d+) chars", value)
        assert len(got[key]) == int(length.group(1)) if length else got[key] == value
    assert set(got) == set(expected)


@pytest.mark.parametrize("path", READABLE)
def test_a_full_profile_on_every_file(path: Path, tmp_path: Path) -> None:
    old = path.read_bytes()
    done = checked_edit(old, FULL)
    assert real_sh(done.data, FULL, tmp_path) == FULL
    for reading in sdenv.read(done.data):
        assert not reading.whole or {key: reading.values.get(key) for key in FULL} == FULL
    assert_only_our_lines(old, done.data, FULL)
    assert done.was == envfile.sh_values(old, FULL)
    assert checked_edit(done.data, FULL).data == done.data


@pytest.mark.parametrize("path", READABLE)
def test_keys_that_were_absent_go_again(path: Path) -> None:
    old = path.read_bytes()
    absent = {key: value for key, value in FULL.items() if key.encode() + b"=" not in re.sub(rb"(?m)^\s*#.*", b"", old)}
    new = checked_edit(old, absent).data
    assert checked_edit(new, {}, absent).data.rstrip(b"\n") == old.rstrip(b"\n")


ONE = {"ON_SHUTDOWN": "shutdown"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b"ON_SHUTDOWN=shutdown\n"),
        (b"# x\n", b"# x\nON_SHUTDOWN=shutdown\n"),
        (b"# x", b"# x\nON_SHUTDOWN=shutdown\n"),
        (b"ON_SHUTDOWN=suspend", b"ON_SHUTDOWN=shutdown"),
        (b"\tON_SHUTDOWN='suspend'  \n", b"ON_SHUTDOWN=shutdown\n"),
        (b"ON_SHUTDOWN=shutdown\r\nURIS=x\r\n", b"ON_SHUTDOWN=shutdown\nURIS=x\r\n"),
        (b"#ON_SHUTDOWN=a\r\n# z\r\n", b"#ON_SHUTDOWN=a\r\nON_SHUTDOWN=shutdown\n# z\r\n"),
        (
            b"#ON_SHUTDOWN=a\n\n#ON_SHUTDOWN=b\n\n# z\n",
            b"#ON_SHUTDOWN=a\n\n#ON_SHUTDOWN=b\nON_SHUTDOWN=shutdown\n\n# z\n",
        ),
        (b"# ON_SHUTDOWN=a\nA=1\n", b"# ON_SHUTDOWN=a\nON_SHUTDOWN=shutdown\nA=1\n"),
        (b"#     ON_SHUTDOWN=a is prose\nA=1\n", b"#     ON_SHUTDOWN=a is prose\nA=1\nON_SHUTDOWN=shutdown\n"),
        (
            b"## Default: a\n# t\n#ON_SHUTDOWN=a\n## X\n",
            b"## Default: a\n# t\n#ON_SHUTDOWN=a\nON_SHUTDOWN=shutdown\n## X\n",
        ),
        (b"#ON_SHUTDOWN=a \\\nA=1\n", b"#ON_SHUTDOWN=a \\\nA=1\nON_SHUTDOWN=shutdown\n"),
        (b"A=a\neval ${A}=b\n# z \\", b"A=a\neval ${A}=b\nON_SHUTDOWN=shutdown\n# z \\"),
        (b"A=1\n# x \\", b"A=1\nON_SHUTDOWN=shutdown\n# x \\"),
        (b"ON_SHUTDOWN=a\nON_SHUTDOWN=b\n", b"ON_SHUTDOWN=a\nON_SHUTDOWN=shutdown\n"),
        (b"export ON_SHUTDOWN=shutdown\n", b"ON_SHUTDOWN=shutdown\n"),
        (b"A=1; ON_SHUTDOWN=b\n# z\n", b"A=1; ON_SHUTDOWN=b\nON_SHUTDOWN=shutdown\n# z\n"),
        (b"ON_SHUTDOWN=a # why\n", b"# why\nON_SHUTDOWN=shutdown\n"),
        (b"if a; then\nON_SHUTDOWN=b\nfi\n# z\n", b"if a; then\nON_SHUTDOWN=b\nfi\nON_SHUTDOWN=shutdown\n# z\n"),
        (b"A=1\nreturn\nB=1\n", b"A=1\nON_SHUTDOWN=shutdown\nreturn\nB=1\n"),
        # what sh takes for the end of a here-document leaves systemd in the middle of a quoted value
        (b': <<E\nA="\nE\n' + b"# z\n" * 20, b'ON_SHUTDOWN=shutdown\n: <<E\nA="\nE\n' + b"# z\n" * 20),
        (b"ON_SHUTDOWN=a # x \\\n# z\n", b"ON_SHUTDOWN=a # x \\\n# z\nON_SHUTDOWN=shutdown\n"),
        # sh skips a here-document, systemd reads it: only the end is behind both
        (
            b"export ON_SHUTDOWN=shutdown\n" + b"# z\n" * 20 + b": <<E\nON_SHUTDOWN=a\nE\n",
            b"export ON_SHUTDOWN=shutdown\n" + b"# z\n" * 20 + b": <<E\nON_SHUTDOWN=a\nE\nON_SHUTDOWN=shutdown\n",
        ),
        (b": ${ON_SHUTDOWN:=x}\n# z\n", b": ${ON_SHUTDOWN:=x}\nON_SHUTDOWN=shutdown\n# z\n"),
        (b'eval "ON_SHUTDOWN=b"\n# z\n', b'eval "ON_SHUTDOWN=b"\nON_SHUTDOWN=shutdown\n# z\n'),
        (b"#ON_SHUTDOWN=a\nunset ON_SHUTDOWN\n", b"#ON_SHUTDOWN=a\nunset ON_SHUTDOWN\nON_SHUTDOWN=shutdown\n"),
        (b"ON_SHUTDOWN = a\n", b"ON_SHUTDOWN = a\nON_SHUTDOWN=shutdown\n"),
        (b'ON_SHUTDOWN="shutdown"\n', b'ON_SHUTDOWN="shutdown"\n'),
        (b"XON_SHUTDOWN=a\n", b"XON_SHUTDOWN=a\nON_SHUTDOWN=shutdown\n"),
        (b": <<E\n#ON_SHUTDOWN=a\nE\n", b": <<E\n#ON_SHUTDOWN=a\nE\nON_SHUTDOWN=shutdown\n"),
        (b"A='\n#ON_SHUTDOWN=a\n'\n", b"A='\n#ON_SHUTDOWN=a\n'\nON_SHUTDOWN=shutdown\n"),
        (b"# a\0b\xff\n", b"# a\0b\xff\nON_SHUTDOWN=shutdown\n"),
    ],
)
def test_where_the_line_goes(old: bytes, new: bytes) -> None:
    assert checked_edit(old, ONE).data == new


def test_a_value_with_blanks_is_quoted() -> None:
    done = checked_edit(b"", {"URIS": "default lxc:///system"})
    assert done.data == b"URIS='default lxc:///system'\n"
    assert sh_values(done.data, ["URIS"]) == {"URIS": "default lxc:///system"}


@pytest.mark.parametrize("value", ["a'b", "a\nb", "a\rb", "a\0b"])
def test_what_cannot_be_quoted_for_both_is_refused(value: str) -> None:
    with pytest.raises(LvgError, match="cannot be written"):
        quote(value)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"return 0\nON_SHUTDOWN=suspend\n", 2),  # sh never comes to it, systemd does
        (b"ON_SHUTDOWN=suspend\nf() {\nON_SHUTDOWN=x\n}\nf\n", 5),  # sh alone can tell that f sets it
        (b"#ON_SHUTDOWN=a\n\nX=$((ON_SHUTDOWN=1))\n", 3),
        (b": <<E\nON_SHUTDOWN=suspend", 1),
    ],
)
def test_what_is_not_safe_is_refused_with_its_line(data: bytes, line: int) -> None:
    with pytest.raises(LvgError, match=rf"^line {line}: ") as caught:
        checked_edit(data, ONE)
    assert caught.value.todo


def test_sh_has_the_last_word() -> None:
    data = b"#ON_SHUTDOWN=a\n\neval 'ON_SHUT''DOWN=suspend'\n"
    with pytest.raises(LvgError, match=r"^line 3: .*'suspend' in ON_SHUTDOWN"):
        checked_edit(data, ONE)


def test_a_file_that_sh_cannot_read_is_never_mended() -> None:
    with pytest.raises(LvgError, match=r"^line 1: "):
        checked_edit(b'ON_SHUTDOWN="suspend\n', ONE)


def test_drop_takes_out_only_a_line_of_our_form() -> None:
    assert edit(b"A=1\nURIS='a b'\nB=2\n", {}, ["URIS"]).data == b"A=1\nB=2\n"
    for text in (b"export URIS=a\n", b"URIS=a # x\n", b" URIS=a\n", b'URIS="a"\n', b"A=1; URIS=a\n", b"URIS=a\r\n"):
        assert edit(text, {}, ["URIS"]).data == text


def test_drop_and_set_in_one_go_and_was() -> None:
    done = checked_edit(b"ON_BOOT=start\nSTART_DELAY=5\n", ONE, ["START_DELAY"])
    assert done.data == b"ON_BOOT=start\nON_SHUTDOWN=shutdown\n"
    assert done.was == {"ON_SHUTDOWN": None, "START_DELAY": "5"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"ON_BOOT=a\n\nON_BOOT=b\n", "ON_BOOT is set on lines 1 and 3"),
        (b"\nON_SHUTDOWN = shutdown\n", "line 2: `ON_SHUTDOWN = shutdown` sets nothing"),
        (b"SHUTDOWN_TIMEOUT= 5\n", "line 1: `SHUTDOWN_TIMEOUT= 5` sets nothing"),
        (b"URIS+=x\n", "line 1: `URIS+=x` sets nothing"),
        (b"URIS+=x 'a\nlvg: all is well'\n", "line 1: `URIS+=x 'a lvg: all is well'` sets nothing"),
        (b"PARALLEL_SHUTDOWN=$(nproc)\n", "line 1: PARALLEL_SHUTDOWN comes from a command"),
        (b"ON_BOOT=start\r\n", "line 1: ON_BOOT ends in a carriage return"),
        (b"on_boot=start\n", "line 1: on_boot is not ON_BOOT"),
        (b"\xef\xbb\xbf# x\n", "line 1: a byte order mark"),
        (b"# a\0\n", "systemd gives up"),
    ],
)
def test_the_admin_hears_of_what_is_odd(data: bytes, says: str) -> None:
    notes = edit(data, ONE).notes
    assert [note for note in notes if says in note], notes


def test_an_ordinary_file_has_no_notes() -> None:
    assert edit(b"# x\n#ON_BOOT=start\nON_SHUTDOWN=suspend\nMY_OWN=$(date)\nmine=$((1+2))\r\n", ONE).notes == ()


def test_assignments_in_order_with_their_places() -> None:
    data = b"#A=0\nA=1 B='x y'\nexport C=2\nD=$A\nif x; then E=1; fi\nF=1 cmd\n"
    found = [(item.key, item.line, item.value) for item in assignments(data)]
    assert found == [("A", 2, "1"), ("B", 2, "x y"), ("C", 3, "2"), ("D", 4, None), ("E", 5, None)]
    assert [data[item.start : item.end] for item in assignments(data)][:2] == [b"A=1", b"B='x y'"]
