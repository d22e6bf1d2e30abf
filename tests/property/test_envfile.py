"""Properties of the editor on generated files, with a real sh, outside any sandbox, as the judge.

A few files of each kind; .ci/run has fuzz.py try thousands.
"""

import re
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lvg.envfile import Edit, checked_edit, edit, quote, sdenv
from lvg.envfile.shtext import parse
from lvg.errors import LvgError
from lvg.settings import SETTINGS

pytestmark = [pytest.mark.landlock, pytest.mark.usefixtures("sh_asked_once")]

KEYS = ("ON_BOOT", "ON_SHUTDOWN", "SHUTDOWN_TIMEOUT", "URIS")
SHELL = shutil.which("dash") or "/bin/sh"
QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])

key = st.sampled_from(KEYS)
word = st.sampled_from(
    ["shutdown", "suspend", "a-b", "300", "''", '"x y"', "'x y'", "a\\ b", "$A", '"${A}"', "${URIS:-d}", "$((1+2))"]
)
tail = st.sampled_from(["", "", " ", "\t", " # why", " # it's", "\r"])
indent = st.sampled_from(["", "", "  ", "\t"])
plain = st.builds("{}{}={}{}".format, indent, key, word, tail)
# what sh reads without complaint, and where our key can be set with certainty
tame_line = st.one_of(
    plain,
    st.builds("#{}={}".format, key, word),
    st.builds("# {}={}{}".format, key, word, st.sampled_from(["", "\r"])),
    st.sampled_from(
        ["", "", "# text", "## Default: x", "# don't", "# caf\xe9", "A=1", "A='it is'", "export A", "\t", "A=b#c"]
    ),
    st.builds("export {}={}".format, key, word),
    st.builds("export A=1 {}={}".format, key, word),
    st.builds("{}={}; A=2".format, key, word),
    st.builds("A=2; {}={}".format, key, word),
    st.builds('if [ -n "$A" ]; then\n  {}={}\nfi'.format, key, word),
    st.builds("case $A in\n  1) {}={} ;;\nesac".format, key, word),
    st.builds('[ -z "$A" ] ||\n{}={}'.format, key, word),
    st.builds("{}=sh\\\nut".format, key),
    st.builds("{}='x\n#URIS=y\n'".format, key),
    st.builds(": <<E\n{}={}\nE".format, key, word),
    st.builds("{} = {}".format, key, word),
    st.builds("unset {}".format, key),
)
wild_line = st.one_of(
    tame_line,
    st.sampled_from(
        ["# end \\", "; x", "return 0", "exit", 'A="', "A='", "if true; then", "fi", ")", "`", "$(", "\\", "<<E", "E"]
    ),
    st.sampled_from(
        ["set -e", "set -u", "false", "A=(b c)", "\ufffd".encode().decode("latin-1"), "A=\x00b", "esac", "}", "{"]
    ),
    st.builds("readonly {}={}".format, key, word),
    st.builds("eval '{}={}'".format, key, st.sampled_from(["a", "b"])),
    st.builds("f() {{ {}={}; }}".format, key, word),
    st.sampled_from(["f", "f() {", "f \\", "A=${", "A=}", "&&", "|", "A=1 &&", "ON_\\\nBOOT=x", "\xef\xbb\xbfURIS=x"]),
    st.text(alphabet="KEY=\"'\\#$(){}`; \n", max_size=8),
)


def _file(lines: list[str], newline: str, end: bool) -> bytes:
    return (newline.join(lines) + (newline if end and lines else "")).encode("latin-1", "ignore")


tame_files = st.builds(_file, st.lists(tame_line, max_size=8), st.just("\n"), st.booleans())
wild_files = st.builds(
    _file, st.lists(wild_line, max_size=7), st.sampled_from(["\n", "\n", "\n", "\r\n"]), st.booleans()
)
wishes = st.dictionaries(key, st.sampled_from(["shutdown", "240", "default lxc:///system"]), min_size=1)


def sourced(data: bytes) -> dict[str, bytes] | None:
    """Return what sh has in each key after sourcing a file, None if it does not get that far."""
    defaults = "; ".join(f"{name}={SETTINGS[name].builtin}" for name in KEYS)
    show = "printf '%s\\0' END " + " ".join(f'"${{{name}-}}"' for name in KEYS)
    # data holds no NUL that counts: dash skips them, and here-documents of ours would not survive them
    program = f"{defaults}; PATH=/nonexistent; . /dev/stdin 1>&2; {show}"
    done = subprocess.run([SHELL, "-c", program], input=data, capture_output=True, check=False, env={}, timeout=10)
    head, *values = done.stdout.split(b"\0")
    return dict(zip(KEYS, values, strict=False)) if head == b"END" and b"yntax error" not in done.stderr else None


def _attempt(data: bytes, values: dict[str, str]) -> Edit | LvgError:
    try:
        return checked_edit(data, values)
    except LvgError as error:
        return error


def assert_right(data: bytes, new: bytes, values: dict[str, str]) -> None:
    seen = sourced(new)
    assert seen is not None
    assert {name: seen[name].decode() for name in values} == values
    for reading in sdenv.read(new):
        assert not reading.whole or {name: reading.values.get(name) for name in values} == values
    others = {name: value for name, value in (sourced(data) or {}).items() if name not in values}
    if not re.search("|".join(rf"\$\W?{name}" for name in values), data.decode("latin-1")):
        assert {name: seen[name] for name in others} == others


@QUICK
@given(tame_files, wishes)
def test_a_file_that_sh_reads_is_edited(data: bytes, values: dict[str, str]) -> None:
    done = checked_edit(data, values)
    assert_right(data, done.data, values)
    assert checked_edit(done.data, values).data == done.data


@settings(QUICK, max_examples=30)
@given(wild_files, wishes)
def test_any_file_is_edited_right_or_refused(data: bytes, values: dict[str, str]) -> None:
    done = _attempt(data, values)
    if isinstance(done, LvgError):
        assert re.match(r"line \d+: |sh stops before the end", done.what)
        assert "\n" not in done.what + done.todo
        return
    assert sourced(data) is not None
    assert_right(data, done.data, values)
    assert checked_edit(done.data, values).data == done.data


@settings(QUICK, max_examples=200)
@given(st.one_of(tame_files, wild_files, st.binary(max_size=60)), wishes)
def test_bytes_outside_our_lines_stay(data: bytes, values: dict[str, str]) -> None:
    assert b"".join(script_bytes(data)) == data
    try:
        new = edit(data, values).data
    except LvgError:
        return
    ours = {f"{name}={quote(value)}".encode() for name, value in values.items()}
    rest = [line for line in new.split(b"\n") if line not in ours]
    old = iter(data.split(b"\n"))
    for line in rest:  # what is left of the new file is found in the old one, in the same order
        remark = line.startswith(b"#")
        assert any(line == other or (remark and other.rstrip(b"\r").endswith(line)) for other in old) or line == b""


def script_bytes(data: bytes) -> list[bytes]:
    return [data[chunk.start : chunk.end] for chunk in parse(data).chunks]


@settings(QUICK, max_examples=100)
@given(tame_files, wishes)
def test_drop_undoes_an_addition(data: bytes, values: dict[str, str]) -> None:
    assume(not any(re.search(rf"(?m)^[^#\n]*{name}", data.decode("latin-1")) for name in values))
    new = edit(data, values).data
    back = edit(new, {}, values).data
    assert back in (data, data + b"\n")
    assert edit(back, {}, values).data == back
