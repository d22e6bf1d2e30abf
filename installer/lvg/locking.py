"""One run at a time, and signals that end a run only where it can still be undone."""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from lvg.errors import LvgError
from lvg.files import Root
from lvg.filestate import sync_folder
from lvg.layout import LOCK, STATE_DIR

WAIT_SECONDS = 10.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class InterruptedRunError(KeyboardInterrupt):
    """Somebody ended the run by a signal; what it had changed is put back.

    Not an LvgError: what passes over a small failure must not pass over this.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@contextlib.contextmanager
def exclusive(root: Root, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock of this root; the state folder is made for it, and goes again if it stays empty.

    Raises LvgError if another run holds it for longer than `wait` seconds, or it cannot be made.
    """
    folder, path = root.real(STATE_DIR), root.real(LOCK)
    made: list[Path] = []
    try:
        handle = _take(path, time.monotonic() + wait, made)
    except OSError as error:
        _remove(made)
        what = f"{STATE_DIR} cannot be written: {error.strerror}"
        raise LvgError(what, "lvg keeps its checkpoints there: make it writable.") from None
    try:
        yield
    finally:
        if set(root.listdir(STATE_DIR)) <= {path.name}:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                _remove(made or [folder])
        os.close(handle)


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder of root's own and those above it that are missing; note the made ones."""
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            mode = 0o700 if each == folder else 0o755
            each.mkdir(mode, exist_ok=True)  # never open to others, not even before chmod, whatever the umask says
            made.append(each)
            each.chmod(mode)
            sync_folder(each.parent)  # a checkpoint is of no use in a folder that a power cut takes away


def _remove(made: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for each in reversed(made):
            each.rmdir()


def _take(path: Path, deadline: float, made: list[Path]) -> int:
    while True:
        _make_folders(path.parent, made)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:  # another run has just removed the empty folder
            if time.monotonic() >= deadline:
                raise
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(handle)
                raise LvgError(
                    "another run of lvg is at work on this host", "Wait until it has ended, then run again."
                ) from None
            time.sleep(0.1)
        os.close(handle)


@contextlib.contextmanager
def undo_on_signals() -> Iterator[None]:
    """Turn the first TERM, INT or HUP into an InterruptedRunError; later ones do not disturb the undo."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise InterruptedRunError(f"ended by {signal.Signals(number).name}")

    before = {each: signal.signal(each, stop) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def too_late_for_signals() -> None:
    """Ignore TERM, INT and HUP from here on: the work is done, and ending now would only leave litter."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)


@contextlib.contextmanager
def no_signals() -> Iterator[None]:
    """Hold TERM, INT and HUP back for the one step that must not be cut in two."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
