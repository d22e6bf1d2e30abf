"""The command line of stopvm. What is not needed for a verb is not imported."""

import argparse
import gc
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__, policy, streams
from .report import Report

_GARBAGE = 50_000  # objects between two searches for cycles; there are hardly any, and 700 cost a tenth of the time
_UNEXPECTED = 4  # not 1: for systemd that is a stop that went as the policy says


def parser() -> argparse.ArgumentParser:
    """Return the description of the command line."""
    found = argparse.ArgumentParser(
        prog="stopvm",
        description="Stop the guests of this host cleanly, and bring them back.",
        epilog="systemd runs `stopvm stop` when the host goes down and `stopvm restore` at boot.",
    )
    found.add_argument("--version", action="version", version=f"stopvm {__version__}")
    verbs = found.add_subparsers(prog="stopvm", dest="verb", metavar="stop|restore|status")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--policy", type=Path, default=policy.PATH, metavar="FILE", help="default: %(default)s")
    common.add_argument("--state", type=Path, default=Path("/var/lib/lvg"), metavar="DIR", help="default: %(default)s")
    asking = argparse.ArgumentParser(add_help=False)
    asking.add_argument("--uri", action="append", metavar="URI", help="instead of the policy's; may be repeated")
    stop = verbs.add_parser(
        "stop",
        parents=[common, asking],
        help="stop all guests, but only while the host goes down",
        description="Stop all guests. Exit codes: 0 all clean, 1 some forced, 2 some left, 3 libvirt out of reach.",
    )
    stop.add_argument("--now", action="store_true", help="stop them now, whether the host goes down or not")
    stop.add_argument("--dry-run", action="store_true", help="only say what would be done")
    some = stop.add_argument_group("with --now or --dry-run")
    some.add_argument("--only", action="append", default=[], metavar="GLOB", help="only these guests; may be repeated")
    some.add_argument(
        "--except", action="append", default=[], dest="without", metavar="GLOB", help="not these; may be repeated"
    )
    some.add_argument("--budget", type=_seconds, metavar="S", help="seconds for all guests, instead of the policy's")
    restore = verbs.add_parser(
        "restore", parents=[common, asking], help="bring back the guests that ran at the last stop"
    )
    restore.add_argument("--now", action="store_true", help="do it whatever the policy says")
    restore.add_argument(
        "--only", action="append", default=[], metavar="GLOB", help="with --now: only these guests; may be repeated"
    )
    status = verbs.add_parser("status", parents=[common], help="show the policy in force and the last stop")
    status.add_argument("--json", action="store_true", help="as one JSON document")
    return found


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 10**7:  # never true of nan
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def _is_a_trap(options: argparse.Namespace) -> bool:
    """True if the host's own shutdown would stop other guests, or in another time, than its policy says."""
    limited = options.only or options.without or options.budget
    return bool(limited and not options.now and not options.dry_run)


def run(arguments: Sequence[str]) -> int:
    """Do what the command line says and return the exit code."""
    options = parser().parse_args(arguments)
    if options.verb is None:
        parser().print_help(sys.stderr)
        return 2
    if options.verb == "stop" and _is_a_trap(options):
        sys.stderr.write("stopvm: --only, --except and --budget need --now or --dry-run\n")
        sys.stderr.write("  In a shutdown of the host all guests are stopped, as the policy says.\n")
        return 2
    if options.verb == "restore" and options.only and not options.now:
        sys.stderr.write(
            "stopvm: --only needs --now\n  At boot all guests that ran are brought back, if the policy says so.\n"
        )
        return 2
    from . import verbs  # noqa: PLC0415  # --help and --version need none of it

    if verbs.needs_root(options):
        sys.stderr.write("stopvm: this needs root\n  Run it with sudo.\n")
        return 2
    return int(getattr(verbs, options.verb)(options))


def _prepare() -> None:
    """Take nothing from whoever starts us that could keep guests from being stopped.

    Ignored, SIGCHLD hides how commands end; blocked, SIGTERM ends nothing.
    """
    streams.prepare()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main() -> None:
    """Run, then end at once: a libvirt call that never returns must not hold up the end of the program."""
    _prepare()
    gc.set_threshold(_GARBAGE)
    code = _UNEXPECTED
    try:
        code = run(sys.argv[1:])
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else _UNEXPECTED
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if os.environ.get("STOPVM_DEBUG"):
            raise
        Report().err(f"failed: {error!r}")
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)


if __name__ == "__main__":
    main()
