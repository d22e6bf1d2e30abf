"""What every command shares: lines to the right stream, errors for people, exit codes."""

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from lvg.errors import LvgError, NeedsRootError, UsageError
from lvg.files import Root
from lvg.render import printable, safe


def out(lines: Iterable[str]) -> None:
    """Print lines to stdout; control characters are shown, but for our own colours."""
    for line in lines:
        print(safe(line))


def say(lines: Iterable[str]) -> None:
    """Print lines to stderr."""
    for line in lines:
        print(printable(line), file=sys.stderr)


def root_of(folder: str) -> Root:
    """Return the root that --root names. Raises UsageError if there is no such folder."""
    path = Path(os.path.realpath(folder or "/"))
    if not path.is_dir():
        raise UsageError(f"--root {folder} is not a folder", "Give the top of a system tree, as for chroot.")
    return Root(path)


def need_root(root: Root) -> None:
    """Raise NeedsRootError if the live host is to be changed by somebody else than root."""
    if root.live and os.geteuid() != 0:
        raise NeedsRootError("changing this host needs root", "Run it with sudo, or try --dry-run.")


def speaking(name: str, verbose: bool, body: Callable[[], int]) -> int:
    """Run a command's body and return its exit code; every error becomes two lines for people."""
    try:
        code = body()
        sys.stdout.flush()
        return code
    except LvgError as error:
        for note in getattr(error, "__notes__", []):
            say(note.splitlines())
        say([f"{name}: {error.what}", *([f"  {error.todo}"] if error.todo else [])])
        _traceback(verbose)
        return error.code
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the reader has gone; nothing more can be said
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
