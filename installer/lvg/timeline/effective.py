"""Which value of the policy holds for a guest, and which rule it comes from. Pure."""

from __future__ import annotations

from dataclasses import fields
from fnmatch import fnmatchcase
from typing import NamedTuple

from lvg.stopvm.policy import GuestPolicy, Policy


class Value(NamedTuple):
    """One key of one guest's policy. `match` is the name or glob of the rule it comes from, "" for [stopvm]."""

    key: str
    value: object
    match: str


def effective(rules: Policy, name: str) -> tuple[Value, ...]:
    """Return every value of one guest's policy; of two rules with the same key the later one wins."""
    source: dict[str, str] = {}
    for rule in rules.rules:
        if fnmatchcase(name, rule.match):
            source |= dict.fromkeys((key for key, _ in rule.values), rule.match)
    policy = rules.for_guest(name)
    return tuple(
        Value(each.name, getattr(policy, each.name), source.get(each.name, "")) for each in fields(GuestPolicy)
    )
