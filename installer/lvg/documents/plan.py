"""The answer of `lvg plan --json`."""

from __future__ import annotations

from collections.abc import Sequence

from lvg.stopvm.policy import Policy
from lvg.timeline import Boot, Start, Step, Timeline
from lvg.timeline.effective import effective


def plan_document(
    rules: Policy, line: Timeline, boot: Boot, ups: float | None, warnings: Sequence[str]
) -> dict[str, object]:
    """Return the whole answer. Seconds count from the order to power off; those of the boot from stopvm's start."""
    return {
        "profile": rules.profile,
        "worst_case_s": _tenth(line.worst),
        "expected_s": _tenth(line.expected),
        "budget_s": line.budget,
        "within_s": _tenth(line.within),
        "net_s": _tenth(line.net),
        "delay_s": line.delay,
        "limit_s": line.limit,
        "ups_s": ups,
        "fits": line.fits(ups),
        "waves": [[_step(rules, step) for step in wave] for wave in line.waves()],
        "boot": {
            "policy": rules.boot,
            "worst_case_s": _tenth(boot.worst),
            "expected_s": _tenth(boot.expected),
            "guests": [_start(start) for start in boot.starts],
        },
        "warnings": list(warnings),
    }


def _step(rules: Policy, step: Step) -> dict[str, object]:
    return {
        "guest": step.name,
        "uri": step.uri,
        "methods": list(step.methods),
        "what": step.what,
        "forced": step.forced,
        "after": list(step.after),
        "begins_s": _tenth(step.begins),
        "begins_late_s": _tenth(step.begins_late),
        "expected_s": _tenth(step.ends),
        "deadline_s": _tenth(step.deadline),
        "timeout_s": step.timeout,
        "granted_s": _tenth(step.granted),
        "usual_s": step.usual,
        "left": step.left,
        "policy": {each.key: {"value": each.value, "from": each.match} for each in effective(rules, step.name)},
    }


def _start(start: Start) -> dict[str, object]:
    return {
        "guest": start.name,
        "uri": start.uri,
        "by": start.by,
        "wave": start.wave,
        "after": list(start.after),
        "begins_s": _tenth(start.begins),
        "begins_late_s": _tenth(start.begins_late),
        "start_delay_s": start.start_delay,
        "wait_for": start.waits,
        "why": start.why,
    }


def _tenth(seconds: float) -> float:
    return round(seconds, 1)
