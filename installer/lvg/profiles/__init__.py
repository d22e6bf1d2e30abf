"""Profiles: found, read, merged, checked, and compiled to the policy that stopvm reads."""

from lvg.profiles.merge import (
    Profile,
    Row,
    Rule,
    available,
    compile_policy,
    explain,
    load,
    merge,
    worst_case_seconds,
    yield_to,
)

__all__ = [
    "Profile",
    "Row",
    "Rule",
    "available",
    "compile_policy",
    "explain",
    "load",
    "merge",
    "worst_case_seconds",
    "yield_to",
]
