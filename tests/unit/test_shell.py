"""sh reads a file in a sandbox: the right values come out, and nothing else does."""

import contextlib
import os
import tempfile
import time
from pathlib import Path

import pytest

from lvg.envfile import sandbox, shell
from lvg.envfile.sandbox import Sandbox
from lvg.envfile.shell import MAX_BYTES, sh_values, tame
from lvg.errors import LvgError

pytestmark = pytest.mark.landlock

KEYS = ("ON_BOOT", "ON_SHUTDOWN")


@pytest.fixture
def open_folder() -> Path:
    """A folder that nobody could write to: whatever a file leaves behind would show here."""
    folder = Path(tempfile.mkdtemp(prefix="lvg-test-", dir="/tmp"))
    folder.chmod(0o777)
    (folder / "there").write_text("before")
    (folder / "there").chmod(0o666)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("#ON_BOOT=ignore\n", None),
        ("ON_BOOT=start\n", "start"),  # the built-in default, but set
        ("ON_BOOT=\n", ""),
        ("unset ON_BOOT\n", ""),
        ("ON_BOOT = ignore\n", None),
        ("ON_BOOT=${ON_BOOT:-ignore}\n", None),  # sh sees the built-in default: nothing changes
        ("ON_BOOT=$ON_BOOT-x\n", "start-x"),
        ('[ "$ON_BOOT" = start ] && ON_BOOT=ignore\n', "ignore"),
        ("ON_BOOT=a\nreturn 0\nON_BOOT=b\n", "a"),
        ("ON_BOOT=$(echo ignore)\n", "ignore"),
        ("ON_BOOT=$(nproc)\n", ""),
        ("ON_BOOT=a\r\n", "a\r"),
        ("set -eu\nON_BOOT=ignore\n", "ignore"),
        ("IFS=ig; ON_BOOT=ignore; set -f\n", "ignore"),
        ("ON_BOOT='a\nb'\n", "a\nb"),
    ],
)
def test_values(text: str, value: str | None) -> None:
    assert sh_values(text.encode(), KEYS) == {"ON_BOOT": value, "ON_SHUTDOWN": None}


def test_bytes_that_are_not_utf8_survive() -> None:
    assert sh_values(b"ON_BOOT=caf\xe9\n", ["ON_BOOT"])["ON_BOOT"] == "caf\udce9"


def test_keys_without_a_default_are_unset_before() -> None:
    seen = sh_values(b"LIBVIRT_START=no\nLIBVIRT_URIS=\n", ["LIBVIRT_START", "LIBVIRT_URIS", "LIBVIRT_MAXWAIT"])
    assert seen == {"LIBVIRT_START": "no", "LIBVIRT_URIS": "", "LIBVIRT_MAXWAIT": None}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('A=1\nB="open\nC=2\n', "line 2:"),
        ("A=1\n\nif true; then\nB=1\n", "line 3:"),
        ("A=1\n; B=2\n", "line 2:"),
        ("A=1\nexit 3\n", "line 2:.*exit"),
        ("A=1\nexec /bin/true\n", "line 2:"),
        ("A=1\n\n. /nonexistent/file\n", "line 3:"),
        (": ${ON_NOTHING?is needed}\n", "line 1:.*is needed"),
        ("readonly ON_BOOT=a\nON_BOOT=b\n", "line 2:"),
        ("exec >&-\n", "line 1:"),
    ],
)
def test_what_sh_cannot_read_is_refused_with_line_and_reason(text: str, says: str) -> None:
    with pytest.raises(LvgError, match=says) as caught:
        sh_values(text.encode(), KEYS)
    assert "\n" not in caught.value.what


def test_a_huge_file_is_refused() -> None:
    with pytest.raises(LvgError, match="bytes"):
        sh_values(b"#" * (MAX_BYTES + 1), KEYS)


@pytest.mark.parametrize(
    "text",
    [
        "touch {0}/new",
        "/usr/bin/touch {0}/new {0}/there",
        "ON_BOOT=$(/usr/bin/touch {0}/new)",
        "ON_BOOT=`: > {0}/new`",
        "> {0}/new",
        "echo more >> {0}/there",
        ": > {0}/there",
        "exec /usr/bin/touch {0}/new",
        "cd {0} && umask 0 && : > new",
        'eval "> {0}/new"',
        '/bin/sh -c "> {0}/new"',
        "trap '> {0}/new' EXIT",
        "(: > {0}/new) &",
        "/lib64/ld-linux-x86-64.so.2 /usr/bin/touch {0}/new",
        "mkfifo {0}/new; /usr/bin/mkdir {0}/new; /usr/bin/ln -s / {0}/new",
        "/usr/bin/rm -f {0}/there; /usr/bin/mv {0}/there {0}/new",
    ],
)
def test_a_hostile_file_leaves_no_trace(text: str, open_folder: Path) -> None:
    before = (open_folder / "there").stat()
    with contextlib.suppress(LvgError):  # some are refused; none may do anything
        sh_values(text.format(open_folder).encode() + b"\nON_BOOT=ignore\n", KEYS)
    time.sleep(0.02)  # for what runs in the background
    assert [path.name for path in open_folder.iterdir()] == ["there"]
    after = (open_folder / "there").stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize(
    "text",
    [
        "while :; do :; done",
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
    ],
)
def test_an_endless_file_is_refused_in_bounded_time(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_SECONDS", 0.6)
    begin = time.monotonic()
    with pytest.raises(LvgError, match="more than 1 s"):
        sh_values(text.encode() + b"\n", KEYS)
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("text", ["kill -9 $PPID", "kill -9 -1", "kill 0", "(while :; do :; done) &"])
def test_signals_and_children_harm_nobody(text: str) -> None:
    assert sh_values(text.encode() + b"\nON_BOOT=ignore\n", ["ON_BOOT"]) == {"ON_BOOT": "ignore"}
    _all_gone()


def test_a_fork_bomb_ends_with_its_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether sh itself ends with "Cannot fork" depends on how many processes nobody has at that moment."""
    monkeypatch.setattr(shell, "_PATIENCE", 0.2)
    with contextlib.suppress(LvgError):
        assert sh_values(b"f() { f | f & }; f\nON_BOOT=ignore\n", ["ON_BOOT"]) == {"ON_BOOT": "ignore"}
    _all_gone()


def test_a_user_that_may_have_no_process_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    none_more, tasks = [-24, -24], sandbox._tasks
    monkeypatch.setattr(sandbox, "_tasks", lambda: none_more.pop() if none_more else tasks())
    assert sh_values(b"ON_BOOT=ignore\n", ["ON_BOOT"]) == {"ON_BOOT": "ignore"}
    assert not none_more


def test_that_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_tasks", lambda: -24)
    monkeypatch.setattr(shell, "_PATIENCE", 0.2)
    with pytest.raises(LvgError, match=r"(?i)fork|process|unavailable"):
        sh_values(b"ON_BOOT=ignore\n", ["ON_BOOT"])


def _all_gone() -> None:
    alive = _sandboxed()
    deadline = time.monotonic() + 60
    while alive and time.monotonic() < deadline:  # a kill takes a moment; others' runs come and go
        time.sleep(0.01)
        alive &= _sandboxed()
    assert not alive


def _sandboxed() -> set[str]:
    """Return the processes of any sandbox that still runs on this machine."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state = stat.read_text().rpartition(")")[2].split()[0]
            if state != "Z" and b". /proc/self/fd/" in (stat.parent / "cmdline").read_bytes():
                found.add(stat.parent.name)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "echo ON_BOOT=start",
        "printf() { echo start; }",
        "printf '=start\\0=start\\0'",
        "alias printf=: unset=:",
        "exec 1>&2",
    ],
)
def test_what_a_file_prints_is_not_taken_for_values(text: str) -> None:
    try:
        assert sh_values(text.encode() + b"\nON_BOOT=ignore\n", ["ON_BOOT"]) == {"ON_BOOT": "ignore"}
    except LvgError:
        assert "exec" in text  # its output is gone, and so are the values


def test_the_caller_is_not_changed() -> None:
    before = _privileges_and_handles()
    sh_values(b"ON_BOOT=ignore\n", KEYS)
    assert _privileges_and_handles() == before


def _privileges_and_handles() -> tuple[str, int]:
    status = Path("/proc/self/status").read_text()
    return status[status.index("NoNewPrivs") :].split("\n")[0], len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_root_reads_as_nobody(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("ON_BOOT=secret\n")
    secret.chmod(0o600)
    with pytest.raises(LvgError, match="line 1"):
        sh_values(f". {secret}\n".encode(), KEYS)


def test_the_sandbox_is_complete_on_the_kernels_we_name() -> None:
    with Sandbox() as box:
        assert box.complete


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# only\nON_BOOT='a b' # x\n\nURIS=\"$URIS lxc:///\"\n", True),
        ("T=$((id) )\n", False),
        ("A=$(id)\n", False),
        ("A=`id`\n", False),
        ('A="x $(id)"\n', False),
        ("touch x\n", False),
        ("> x\n", False),
        ("A=1; B=2\n", False),
        ("eval A=1\n", False),
        ("A='open\n", False),
    ],
)
def test_without_landlock_only_plain_files_are_read(text: str, expected: bool) -> None:
    assert tame(text.encode()) is expected
