"""The cage for sh on other machines than this one: without Landlock, of an unknown kind, without a usable sh."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from lvg.envfile import sandbox, sh_values, shell
from lvg.errors import LvgError

KEYS = ("ON_BOOT",)


@pytest.fixture
def no_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.Sandbox, "_create_ruleset", lambda self: -1)


@pytest.mark.usefixtures("no_landlock")
def test_without_landlock_plain_lines_are_read() -> None:
    assert sh_values(b"# a comment\nON_BOOT='start'\n", KEYS) == {"ON_BOOT": "start"}


@pytest.mark.usefixtures("no_landlock")
@pytest.mark.parametrize("wild", [b"touch {}\n", b"ON_BOOT=$(touch {})\n", b"ON_BOOT=`touch {}`\n"])
def test_without_landlock_nothing_that_runs_commands_is_read(tmp_path: Path, wild: bytes) -> None:
    tmp_path.chmod(0o777)
    trace = tmp_path / "trace"
    with pytest.raises(LvgError, match="it runs commands, and there is no Landlock here"):
        sh_values(wild.replace(b"{}", os.fsencode(trace)), KEYS)
    assert not trace.exists()


@pytest.mark.usefixtures("no_landlock")
def test_without_landlock_a_quote_that_never_ends_is_still_told() -> None:
    with pytest.raises(LvgError, match="line 2: sh cannot read the file: what begins here"):
        sh_values(b"# fine\nON_BOOT='start\n", KEYS)


def test_on_an_unknown_machine_there_is_no_filter_and_the_rest_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="m68k"))
    assert sandbox._no_kill_filter() == b""
    assert sh_values(b"ON_BOOT=start\n", KEYS) == {"ON_BOOT": "start"}


def test_without_a_sh_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SHELL", "/no/such/sh")
    with pytest.raises(LvgError, match=r"sh cannot be started in a sandbox: .*/no/such/sh"):
        sh_values(b"ON_BOOT=start\n", KEYS)


def test_a_sh_that_the_limit_keeps_from_starting_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn, refused = shell._spawn, [BlockingIOError(11, "Resource temporarily unavailable")]

    def full(memory: int, program: str) -> tuple[bytes, bytes]:
        if refused:
            raise refused.pop()
        return spawn(memory, program)

    monkeypatch.setattr(shell, "_spawn", full)
    monkeypatch.setattr(shell, "_PAUSE", 0.0)
    assert sh_values(b"ON_BOOT=start\n", KEYS) == {"ON_BOOT": "start"}
    refused.append(BlockingIOError(11, "Resource temporarily unavailable"))
    monkeypatch.setattr(shell, "_PATIENCE", 0.0)
    with pytest.raises(LvgError, match=r"sh cannot be started in a sandbox: .*temporarily"):
        sh_values(b"ON_BOOT=start\n", KEYS)


def test_a_file_that_ends_sh_in_silence_is_no_file_without_settings() -> None:
    with pytest.raises(LvgError, match="sh stops before the end of the file, without a word"):
        sh_values(b"set -e\nfalse\nON_BOOT=start\n", KEYS)


@pytest.mark.parametrize("key", ["", "1A", "A B", "A;touch x", "$(x)"])
def test_only_names_of_variables_get_into_the_program_for_sh(key: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr([key]))):
        sh_values(b"ON_BOOT=start\n", [key])
