"""`lvg plan`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lvg import documents, guests, shutdowns, systemd, timeline
from lvg.console import need_root, out, root_of, warn
from lvg.documents.plan import plan_document
from lvg.errors import BadAnswerError, LvgError, NothingAppliedError, UsageError
from lvg.files import Root
from lvg.guests import Answer, Guest
from lvg.layout import POLICY
from lvg.profiles.policyfile import CUT_OFF
from lvg.stopvm import policy as policies
from lvg.stopvm.policy import Policy
from lvg.timeline import Boot, Timeline
from lvg.timeline.limit import PROPERTIES, UNITS
from lvg.units import SHUTDOWN

_TITLE = "lvg plan"
_LIBVIRT_SECONDS = 10.0
_SYSTEMD_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """Everything that is shown. `ups` is how long the UPS lasts, None if nobody said."""

    rules: Policy
    shutdown: Timeline
    boot: Boot
    ups: float | None
    warnings: tuple[str, ...]


def plan(ups: float | None, svg: str, as_json: bool, verbose: bool) -> int:
    """Show the next shutdown and the next boot. Raises LvgError."""
    if ups is not None and not (math.isfinite(ups) and ups > 0):
        raise UsageError(f"--ups {ups} is no number of seconds", "Give how long the UPS lasts, for example --ups 300.")
    root = root_of(None)
    need_root(root, "The policy and the history are for root alone: run it with sudo.")
    return answer(gather(root, ups), svg, as_json, verbose)


def answer(found: Plan, svg: str, as_json: bool, verbose: bool) -> int:
    """Show a plan and return the exit code. Raises LvgError if the picture cannot be written."""
    warn(found.warnings)
    if as_json:
        out([documents.dumps(plan_document(found.rules, found.shutdown, found.boot, found.ups, found.warnings))])
    if svg or not as_json:
        _draw(found, svg, verbose, quiet=as_json)
    return 0 if found.shutdown.fits(found.ups) else BadAnswerError.code


def gather(root: Root, ups: float | None) -> Plan:
    """Ask the host for all that the plan is made of. Raises LvgError."""
    if not root.exists(POLICY):
        raise NothingAppliedError()
    rules = policies.load(root.real(POLICY))
    running, silent = _running(guests.look(rules.uris, _LIBVIRT_SECONDS))
    pasts, complaints = shutdowns.past(root)
    limit, unsure = _systemd(root)
    line = timeline.of(rules, running, shutdowns.usual(pasts), limit)
    back = timeline.boot(rules, running, _on_boot(root))
    return Plan(rules, line, back, ups, (*rules.complaints, *silent, *complaints, *unsure))


def _running(answers: Sequence[Answer]) -> tuple[tuple[Guest, ...], list[str]]:
    """Return the guests that run, and a line for each URI that does not answer. Raises LvgError."""
    silent = [f"libvirt at {answer.uri}: {answer.error}" for answer in answers if answer.error]
    if len(silent) == len(answers):
        todo = "Look at: virsh list, and systemctl status libvirtd virtqemud"
        raise LvgError(f"no plan without libvirt: {'; '.join(silent)}", todo)
    found = guests.running(answer for answer in answers if not answer.error)
    return found, [f"{text}; its guests are not in this plan" for text in silent]


def _systemd(root: Root) -> tuple[float | None, list[str]]:
    """Return when systemd cuts a shutdown off, and what is not as this plan needs it."""
    if not systemd.running(root):
        return None, []
    try:
        found = systemd.properties((*UNITS, SHUTDOWN), (*PROPERTIES, "ActiveState"), _SYSTEMD_SECONDS)
    except LvgError as error:
        return float(CUT_OFF), [f"{error.what}: its limit is taken to be {CUT_OFF} s"]
    state = found[SHUTDOWN].get("ActiveState", "")
    idle = f"{SHUTDOWN} is {state}, so this plan is not what a shutdown does: lvg doctor says more"
    return timeline.limit_of(found), [] if state == "active" else [idle]


def _on_boot(root: Root) -> str:
    """Return what libvirt-guests does at boot, as lvg-install noted it in the policy: "start" or "ignore"."""
    try:
        data: Any = json.loads(root.read(POLICY) or b"")
        return str(data["net"]["on_boot"])
    except (LvgError, ValueError, KeyError, TypeError, RecursionError):
        return "ignore"


def _draw(found: Plan, svg: str, verbose: bool, quiet: bool) -> None:
    from lvg.draw import plan as draw  # noqa: PLC0415 - Rich is not loaded for JSON
    from lvg.draw import terminal  # noqa: PLC0415

    pictures = list(draw.pictures(found.rules, found.shutdown, found.boot, found.ups, verbose))
    if svg:
        terminal.write(svg, terminal.svg(pictures, _TITLE))
    if not quiet:
        terminal.show(pictures)
