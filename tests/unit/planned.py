"""Policies, guests and their plan, as tests of the timeline make them."""

from __future__ import annotations

from typing import Any

from lvg import timeline
from lvg.guests import Guest
from lvg.stopvm.policy import Policy, compile_policy
from lvg.timeline import Timeline


def rules(**values: Any) -> Policy:
    found = compile_policy(values)
    assert not found.complaints
    return found


def running(*names: str, **facts: Any) -> list[Guest]:
    return [Guest(f"uuid-{name}", name, **{"agent": "ok", "memory": 1000.0, **facts}) for name in names]


def plan(policy: Policy, guests: list[Guest], limit: float | None = 1800, **usual: float) -> Timeline:
    return timeline.of(policy, guests, usual, limit)
