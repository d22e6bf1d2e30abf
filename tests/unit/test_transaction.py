"""A failure, a signal or a kill at a step of a run: the host is as before, or the next run makes it so.

Every fourth of these steps is struck; all of them with LVG_THOROUGH=1, which .ci/run sets.
"""

import errno
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvg.errors import LvgError
from lvg.files import Root
from lvg.locking import exclusive

# What Python reports before it changes a file system (docs: Audit events table).
_CHANGING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod", "os.chown", "os.setxattr")
_STEPS = 400  # more than any run needs; each loop ends at the run's own last step
_EACH = 1 if os.environ.get("LVG_THOROUGH") else 4  # of so many steps one is struck


def _changes_something(event: str, args: tuple[Any, ...]) -> bool:
    if event == "open":
        return bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in _CHANGING


def _at_step(step: int, strike: Callable[[str], None], root: Path) -> Callable[[str, tuple[Any, ...]], None]:
    seen = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if _changes_something(event, args) and str(root) in str(args[0]):
            seen += 1
            if seen == step:
                strike(event)

    return hook


def _in_child(body: Callable[[], int]) -> int:
    """Run `body` in a child of its own, since an audit hook cannot be taken away again."""
    child = os.fork()
    if child == 0:
        gc.disable()  # it would touch, and so copy, all memory of the tests
        code = 99
        try:
            code = body()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _die(_event: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(number: int) -> Callable[[str], None]:
    def strike(_event: str) -> None:
        raise OSError(number, os.strerror(number))

    return strike


def _terminate(_event: str) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _struck(host: Any, step: int, strike: Callable[[str], None], command: tuple[str, ...]) -> int | None:
    """Run a command that is struck at this step; return its exit code, or None if it has no such step."""
    struck = False

    def once(event: str) -> None:
        nonlocal struck
        struck = True
        strike(event)

    def body() -> int:
        sys.addaudithook(_at_step(step, once, host.root))
        done = host.run(*command)
        if "unexpected" in done.err or "Traceback" in done.err:
            return _NOT_FOR_PEOPLE
        return int(done.code) if struck else _NOT_STRUCK

    code = _in_child(body)
    return None if code == _NOT_STRUCK else code


_NOT_STRUCK, _NOT_FOR_PEOPLE = 77, 78
_APPLY = ("lvg-install", "--profile", "graceful")
_AGAIN = ("lvg-install", "--profile", "suspend")
_REMOVE = ("lvg", "remove")


def _steps(host: Any, strike: Callable[[str], None], command: tuple[str, ...], start: int, stride: int) -> Any:
    """Strike at every `stride`-th step, or at each fourth of those, and yield each step with the exit code."""
    for step in range(start * _EACH, _STEPS, stride * _EACH):
        code = _struck(host, step, strike, command)
        if code is None:
            assert step > 25, "the hook struck too little"
            return
        yield step, code
    pytest.fail("the run never got to its end")


@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize(("first", "command"), [(None, _APPLY), (_APPLY, _AGAIN), (_APPLY, _REMOVE)])
def test_killed_at_any_step_the_next_run_makes_it_whole(
    fake_host: Any, first: tuple[str, ...] | None, command: tuple[str, ...], start: int
) -> None:
    host = fake_host()
    if first:
        host.run(*first)
    before = host.tree()
    for step, code in _steps(host, _die, command, start, 6 if first else 4):
        assert code == -signal.SIGKILL
        host.run("lvg-install", *_APPLY[1:]) if first else host.run("lvg", "rollback")
        assert host.tree().keys() == before.keys(), f"killed at step {step}"
        _same(before, host.tree(), step)


def _same(before: dict[str, Any], after: dict[str, Any], step: int) -> None:
    """Compare all but the state folder, where a time or a number may differ."""
    mine = {k: v for k, v in before.items() if not k.startswith("var/lib/lvg")}
    theirs = {k: v for k, v in after.items() if not k.startswith("var/lib/lvg")}
    assert mine == theirs, f"struck at step {step}"


@pytest.mark.parametrize(("start", "number"), enumerate([errno.ENOSPC, errno.EROFS, errno.EPERM, errno.EIO], start=1))
@pytest.mark.parametrize(("first", "command"), [(None, _APPLY), (_APPLY, _REMOVE)])
def test_a_failure_at_any_step_leaves_the_host_as_it_was(
    fake_host: Any, start: int, number: int, first: tuple[str, ...] | None, command: tuple[str, ...]
) -> None:
    host = fake_host()
    if first:
        host.run(*first)
    before = host.tree()
    host.run(*command)
    after = host.tree()
    host.run(*(first or _REMOVE))
    failed = 0
    for step, code in _steps(host, _fail(number), command, start, 4):
        if code == 0:  # only a step of the sweeping afterwards may fail without harm; an empty folder may stay
            _same(_no_folders(after), _no_folders(host.tree()), step)
            host.run(*(first or _REMOVE))
        else:
            failed += 1
            assert code == 1, f"step {step}"
            _same(before, host.tree(), step)
    assert failed * _EACH > 5


def _no_folders(tree: dict[str, Any]) -> dict[str, Any]:
    return {path: what for path, what in tree.items() if what[0] != "folder"}


def test_a_signal_at_any_step_leaves_the_host_as_it_was(debian: Any) -> None:
    before = debian.tree()
    debian.run(*_APPLY)
    after = debian.tree()
    debian.run(*_REMOVE)
    stopped = 0
    for step, code in _steps(debian, _terminate, _APPLY, 1, 3):
        if code == 0:  # it came when everything was done
            _same(after, debian.tree(), step)
            debian.run(*_REMOVE)
            continue
        stopped += 1
        assert code in (1, -signal.SIGTERM), f"step {step}"
        _same(before, debian.tree(), step)
    assert stopped * _EACH > 5


def test_a_second_run_waits_and_then_says_so(tmp_path: Path) -> None:
    root = Root(tmp_path)
    with exclusive(root):

        def body() -> int:
            start = time.monotonic()
            try:
                with exclusive(root, wait=0.3):
                    return 1
            except LvgError as error:
                waited = time.monotonic() - start
                return 0 if waited >= 0.3 and "another run" in error.what else 2

        assert _in_child(body) == 0
    assert list(tmp_path.iterdir()) == [], "a lock that guards nothing leaves nothing"


def test_a_file_replaced_during_the_run_stops_it(debian: Any) -> None:
    """Somebody writes the config after the survey and before the rename."""

    def body() -> int:
        def strike(_event: str) -> None:
            debian.config.write_text("ON_BOOT=start # somebody else\n")

        sys.addaudithook(_on_first(debian.config.with_name(".libvirt-guests.lvg-0001"), strike))
        done = debian.run(*_APPLY)
        return 0 if done.code == 1 and "somebody else during this run" in done.err else 1

    assert _in_child(body) == 0
    assert debian.config.read_text() == "ON_BOOT=start # somebody else\n"
    assert not (debian.root / "usr/local/bin/stopvm").exists()


def _on_first(path: Path, strike: Callable[[str], None]) -> Callable[[str, tuple[Any, ...]], None]:
    struck = False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal struck
        if event == "open" and not struck and str(args[0]) == str(path):
            struck = True
            strike(event)

    return hook
