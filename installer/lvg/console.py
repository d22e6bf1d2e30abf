"""What every command shares: lines to the right stream, errors for people, exit codes."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from lvg.colours import one_line, printable, safe
from lvg.errors import LvgError, NeedsRootError, UsageError
from lvg.files import Root
from lvg.locking import InterruptedRunError
from lvg.stopvm.streams import nowhere


def out(lines: Iterable[str]) -> None:
    """Print lines to stdout; control characters are shown, but for our own colours. Raises OSError."""
    for line in lines:
        print(safe(line))


def tell(lines: Iterable[str]) -> None:
    """Print lines to stdout after something was done: that nobody listens any more does not make it undone."""
    try:
        out(lines)
        sys.stdout.flush()
    except OSError:
        sys.stdout = nowhere()


def say(lines: Iterable[str]) -> None:
    """Print lines to stderr."""
    with contextlib.suppress(OSError):
        for line in lines:
            print(printable(line), file=sys.stderr)


def warn(texts: Iterable[str]) -> None:
    """Print warnings to stderr, each on one line."""
    say(one_line(f"warning: {text}") for text in texts)


def root_of(folder: str | None) -> Root:
    """Return the root that --root names, the live host without it. Raises UsageError if there is no such folder."""
    if folder is None:
        return Root(Path("/"))
    path = Path(os.path.realpath(folder))
    if not folder or not path.is_dir():
        raise UsageError(f'--root "{folder}" is not a folder', "Give the top of a system tree, as for chroot.")
    return Root(path)


def need_root(root: Root, todo: str = "Run it with sudo.") -> None:
    """Raise NeedsRootError if somebody else than root asks for what only root may see or change on the live host."""
    if root.live and os.geteuid() != 0:
        raise NeedsRootError("on the running host this needs root", todo)


def speaking(name: str, verbose: bool, body: Callable[[], int]) -> int:
    """Run a command's body and return its exit code; every error becomes two lines for people."""
    try:
        code = body()
        sys.stdout.flush()
        return code
    except LvgError as error:
        for note in getattr(error, "__notes__", []):
            say(note.splitlines())
        say([one_line(f"{name}: {error.what}"), *([one_line(f"  {error.todo}")] if error.todo else [])])
        _traceback(verbose)
        return error.code
    except BrokenPipeError:
        sys.stdout = nowhere()
        return 1
    except InterruptedRunError as error:
        say([f"{name}: {error.what}", "  Run it again when you are ready."])
        return 1
    except KeyboardInterrupt:
        say([f"{name}: ended by Ctrl-C"])
        return 1
    except Exception as error:  # the last line of defence: no traceback reaches people
        say([f"{name}: unexpected {type(error).__name__}: {error}", "  Run it again with --verbose and report this."])
        _traceback(verbose)
        return 1


def _traceback(verbose: bool) -> None:
    if verbose:
        traceback.print_exc()
