"""What a plan says of one guest: how it is stopped first, and what happens at its deadline. Pure."""

from __future__ import annotations

from lvg.guests import Guest
from lvg.stopvm import decide
from lvg.stopvm.policy import GuestPolicy
from lvg.timeline.latest import forced_steps

NET = "left to libvirt-guests"
_FORCE = {"save": "saved", "destroy": "destroyed"}


def first(guest: Guest, policy: GuestPolicy) -> str:
    """Return what is done first, in a few words."""
    facts = guest.facts
    step = decide.opening(facts, policy)
    if step == "save" and not cannot_save(guest):
        return "saved, paused" if facts.state == "paused" else "saved"
    ways = ", ".join(decide.methods(facts, policy))
    said = {"leave": NET, "timeout": "has crashed", "wait": "goes down already", "wake": f"woken, {ways}"}
    return said.get(step, ways)


def forced(guest: Guest, policy: GuestPolicy) -> str:
    """Return what happens to a guest that does not end in time, without what it cannot have."""
    if decide.opening(guest.facts, policy) == "leave":
        return ""
    steps = [step for step in forced_steps(policy) if step != "save" or not cannot_save(guest)]
    words = [_FORCE[step] for step in steps]
    return ", else ".join(words if "destroy" in steps else [*words, NET])


def cannot_save(guest: Guest) -> str:
    """Return why a guest cannot be saved, "" if it can be tried."""
    return decide.why_not_save(guest.facts) or "; ".join(guest.cannot_save)


def methods(guest: Guest, policy: GuestPolicy) -> tuple[str, ...]:
    """Return the ways in which a guest is asked, in turn; none if it is not."""
    step = decide.opening(guest.facts, policy)
    asked = step in ("ask", "wake") or (step == "save" and bool(cannot_save(guest)))
    return decide.methods(guest.facts, policy) if asked else ()
