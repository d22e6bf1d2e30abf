"""What the verbs of the command line do, put together from the other rooms."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import decide, history, hostdown, policy
from .history import History
from .notify import Notifier
from .policy import Policy
from .report import NOTICE, Report


def stop(options: argparse.Namespace) -> int:
    """Stop all guests: only in a real shutdown of the host, or with --now. Returns the exit code."""
    report, notifier = Report(), Notifier.from_environment()
    rules = _policy(options, report)
    if options.now:
        rules = policy.by_hand(rules)
    if options.dry_run:
        return _with_loop("dry_run", rules, options, report, notifier)
    down = not options.now and _host_goes_down(report, notifier)
    wanted = options.now or down
    if down:
        _free_the_net(report)
    if not (options.only or options.without) and hostdown.nothing_runs(rules.uris):
        return _nothing(options, rules, report, notifier if down else None) if wanted else 0
    if not wanted:
        return _with_loop("warn_if_guests_run", rules, options, report, notifier)
    return _with_loop("stop", rules, options, report, notifier)


def restore(options: argparse.Namespace) -> int:
    """Bring back what ran at the last stop, if the policy says so or with --now. Returns the exit code."""
    report = Report()
    return _with_loop("restore", _policy(options, report), options, report, Notifier.from_environment())


def status(options: argparse.Namespace) -> int:
    """Show the policy in force and the last stop."""
    rules, store = policy.load(options.policy), History(options.state)
    found = store.latest()
    if options.json:
        shown = {"profile": rules.profile, "uris": rules.uris, "boot": rules.boot, "budget": rules.budget}
        shown |= {key: getattr(rules.base, key) for key in ("action", "timeout", "on_timeout")}
        document = {
            "schema": 1,
            "policy": {**shown, "complaints": [*rules.complaints, *store.complaints]},
            "last_stop": found[1].as_json() if found else None,
        }
        return _answer(json.dumps(document, indent=1) + "\n")
    from . import show  # noqa: PLC0415  # only for people

    return _answer(show.status(rules, found[1] if found else None, store.complaints, history.boot_id()))


def _answer(text: str) -> int:
    """Write to standard output and return the exit code: 1 if not all of it could be written."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return 1  # nobody wants to read on
    except OSError as error:
        Report().err(f"the answer cannot be written: {error.strerror}")
        return 1
    return 0


def needs_root(options: argparse.Namespace) -> bool:
    """True if this user may not read the policy in force or the history. Root is never refused, whatever it reads."""
    paths = [options.state / "history", *([options.policy] if options.policy == policy.PATH else [])]
    return os.geteuid() != 0 and any(map(_forbidden, paths))


def _forbidden(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _policy(options: argparse.Namespace, report: Report) -> Policy:
    rules = policy.load(options.policy)
    for text in rules.complaints:
        report.err(text)
    if getattr(options, "budget", None):
        rules = replace(rules, budget=options.budget)
    return replace(rules, uris=tuple(options.uri)) if options.uri else rules


def _host_goes_down(report: Report, notifier: Notifier) -> bool:
    notifier.extend()
    down, said = hostdown.going_down()
    if not down:
        report.say(NOTICE, f"The host is not going down ({said}): guests are left as they are.")
    return down


def _free_the_net(report: Report) -> None:
    """Move a list aside that would keep libvirt-guests from taking what is left: first of all, we may be killed."""
    from . import stale  # noqa: PLC0415

    stale.move_aside(report)


def _nothing(options: argparse.Namespace, rules: Policy, report: Report, notifier: Notifier | None) -> int:
    """Note a stop without guests. `notifier`: whom to ask for time, if the host goes down."""
    from . import daemon  # noqa: PLC0415
    from .keeper import Keeper, new_record  # noqa: PLC0415

    keeper = Keeper(History(options.state), new_record("now" if options.now else "shutdown", rules), report)
    keeper.fill(())
    keeper.finish(decide.exit_code((), unreachable=False))
    keeper.save_now()
    report.info("no guest runs: nothing to do")
    if notifier is not None:
        daemon.end_if_silent(report, notifier)
    return 0


def _with_loop(what: str, rules: Policy, options: argparse.Namespace, report: Report, notifier: Notifier) -> int:
    """Go on with asyncio and libvirt, which take a while to import."""
    with _without_tls():
        from . import work  # noqa: PLC0415
    return int(getattr(work, what)(rules, options, report, notifier))


@contextmanager
def _without_tls() -> Iterator[None]:
    """Let nothing import TLS meanwhile: asyncio can do without it, and it takes a while to load."""
    modules: dict[str, Any] = sys.modules  # None in it makes an import fail
    modules.setdefault("ssl", None)
    try:
        yield
    finally:
        if modules["ssl"] is None:
            del modules["ssl"]
