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
from lvg.profiles.policyfile import boot_means, shutdown_means

__all__ = [
    "Profile",
    "Row",
    "Rule",
    "available",
    "boot_means",
    "compile_policy",
    "explain",
    "load",
    "merge",
    "shutdown_means",
    "worst_case_seconds",
    "yield_to",
]
