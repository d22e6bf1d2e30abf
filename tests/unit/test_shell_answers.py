"""What is said of a file that sh cannot read, and how sh is asked."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lvg.envfile import shell
from lvg.envfile.shell import MAX_BYTES, sh_values
from lvg.errors import LvgError

FIX = "Mend that line by hand (sh -n FILE shows syntax errors), then run again."


def refused(data: bytes) -> tuple[str, str]:
    with pytest.raises(LvgError) as caught:
        sh_values(data, ["ON_BOOT"])
    return caught.value.what, caught.value.todo


@pytest.mark.landlock
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"A=1\nB='x\n", "line 2: sh cannot read the file: what begins here (quote, bracket or block) never ends"),
        (b"A=1\nexit 3\n", "line 2: sh does not get past this command: exit"),
        (b"set -e\nfalse\n", "sh stops before the end of the file, without a word"),
    ],
)
def test_why_a_file_cannot_be_read(data: bytes, what: str) -> None:
    assert refused(data) == (what, FIX)


@pytest.mark.landlock
def test_a_file_may_be_so_long_and_no_longer() -> None:
    longest = b"ON_BOOT=x\n".rjust(MAX_BYTES, b"#")[:-11] + b"\nON_BOOT=x\n"
    assert len(longest) == MAX_BYTES
    assert sh_values(longest, ["ON_BOOT"]) == {"ON_BOOT": "x"}
    assert refused(longest + b"\n") == (
        f"the file has {MAX_BYTES + 1} bytes, more than {MAX_BYTES}",
        "Is it really a configuration file?",
    )


@pytest.mark.parametrize(
    ("err", "what"),
    [
        (b"sh: 3: /proc/self/fd/5: Syntax error: x", "line 3: sh cannot read the file: Syntax error: x"),
        (b"/proc/self/fd/5: line 7: x y", "line 7: sh cannot read the file: x y"),
        (b"12: a\n13: b\n", "line 12: sh cannot read the file: a"),
        (b"sh: 3: a: not found\nsh: 4: b: bad\n", "line 4: sh cannot read the file: b: bad"),
        (b"sh: 3: a\x1b[1m\xff\t", "line 3: sh cannot read the file: a?[1m??"),
        (b"sh: 3: " + b"x" * 300, "line 3: sh cannot read the file: " + "x" * 200),
        (b"nothing of use", "sh stops before the end of the file, without a word"),
    ],
)
def test_what_is_made_of_the_words_of_different_shells(err: bytes, what: str) -> None:
    assert shell._reason(b"A=1\n", err).replace("\ufffd", "?") == what


@pytest.mark.landlock
def test_the_same_key_may_be_asked_for_twice_and_none_at_all() -> None:
    assert sh_values(b"ON_BOOT=x\n", ["ON_BOOT", "A", "ON_BOOT"]) == {"ON_BOOT": "x", "A": None}
    assert sh_values(b"ON_BOOT=x\n", []) == {}
    assert sh_values(b"on_boot=x\n", ["on_boot"]) == {"on_boot": "x"}


def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Read a file, and return with what the process of sh was started."""
    seen: dict[str, Any] = {}
    real = subprocess.Popen

    def popen(words: list[str], **options: Any) -> Any:
        seen.update(options, words=words)
        return real(words, **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    assert sh_values(b"ON_BOOT=x\n", ["ON_BOOT"]) == {"ON_BOOT": "x"}
    return seen


@pytest.mark.landlock
def test_sh_has_no_environment_no_terminal_and_a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = started(monkeypatch)
    assert seen["words"][:2] == ["/bin/sh", "-c"]
    assert (seen["env"], seen["cwd"], seen["stdin"]) == ({"PATH": "/nonexistent"}, "/", subprocess.DEVNULL)
    assert seen["start_new_session"] is True
    assert len(seen["pass_fds"]) == 1
    assert seen["preexec_fn"].__name__ == "enter"


@pytest.mark.landlock
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize(
    ("uid_map", "user"),
    [
        ("0 0 4294967295\n", 65534),
        ("0 1000 1\n", None),
        ("0 100000 65534\n", None),
        ("0 100000 65535\n", 65534),
        ("0 1000 1\n1 100000 65536\n", 65534),
        ("65534 100000 1\n", 65534),
        ("65535 100000 9\n", None),
    ],
)
def test_root_becomes_nobody_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, uid_map: str, user: int | None
) -> None:
    read = Path.read_text
    said = lambda path, *words: uid_map if path.name == "uid_map" else read(path, *words)  # noqa: E731
    monkeypatch.setattr(Path, "read_text", said)
    seen: dict[str, Any] = {}

    def popen(_words: list[str], **options: Any) -> Any:
        seen.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(KeyboardInterrupt):
        sh_values(b"ON_BOOT=x\n", ["ON_BOOT"])
    assert (seen["user"], seen["group"]) == (user, user)
    assert seen["extra_groups"] == (None if user is None else [])


@pytest.mark.landlock
def test_a_long_answer_comes_through_whole() -> None:
    value = "x" * (MAX_BYTES // 2)
    assert sh_values(f"ON_BOOT={value}\nA=$ON_BOOT$ON_BOOT\n".encode(), ["ON_BOOT", "A"]) == {
        "ON_BOOT": value,
        "A": value + value,
    }


@pytest.mark.landlock
def test_a_slow_file_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_SECONDS", 2.0)
    monkeypatch.setattr(shell.select, "select", lambda *_: ([], [], []))
    what = "sh needs more than 2 s to read the file, or it prints without end"
    assert refused(b"ON_BOOT=x\n") == (what, FIX)


@pytest.mark.landlock
def test_without_a_sh_it_is_said_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell.sandbox, "SHELL", "/no/such/sh")
    monkeypatch.setattr(shell.sandbox, "_interpreter", lambda _: "")
    assert refused(b"ON_BOOT=x\n")[1] == "Check /bin/sh and /proc."


def test_where_nothing_can_hold_commands_a_file_with_some_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell.sandbox.Sandbox, "_create_ruleset", lambda _: -1)
    assert refused(b"'\n")[0].startswith("line 1: sh cannot read the file: what begins here")
    assert refused(b"x\n") == (
        "it runs commands, and there is no Landlock here to hold them (old kernel, or a container's filter)",
        "Make it plain KEY=value lines, or run this outside the container.",
    )
