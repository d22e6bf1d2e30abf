"""What libvirt-guests does behind stopvm, with the guests that are left to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lvg.guests import Guest
from lvg.profiles.policyfile import CUT_OFF
from lvg.stopvm import decide, timing
from lvg.stopvm.policy import GuestPolicy, Net
from lvg.timeline.latest import forced_steps


def may_be_left(guest: Guest, policy: GuestPolicy) -> bool:
    """True if stopvm may leave the guest: all that it does may fail, but for a destroy."""
    skipped = bool(policy.before_stop or policy.before_stop_host) and policy.on_hook_failure == "skip"
    return decide.opening(guest.facts, policy) == "leave" or skipped or "destroy" not in forced_steps(policy)


def seconds(net: Net, left: Sequence[Guest], limit: float | None) -> float:
    """Return how long libvirt-guests may take for these guests, if the power is cut off at `limit`.

    It saves one guest after another and has no limit for that, so it takes what a save takes. A SHUTDOWN_TIMEOUT of 0
    waits for ever. In parallel the timeout is for all guests of one URI; URIs come one after another.
    """
    if not left:
        return 0.0
    if net.on_shutdown != "shutdown":
        return sum(timing.save_seconds(guest.memory) for guest in left)
    rounds = len({guest.uri for guest in left}) if net.parallel > 1 else len(left)
    return net.shutdown_timeout * rounds if net.shutdown_timeout else float(limit or CUT_OFF)
