"""One line for each guest: how it ends, and by when. Pure."""

from __future__ import annotations

from lvg.guests import Guest
from lvg.timeline import Step

_AGENT = {
    "none": "no agent",
    "off": "agent not running",
    "silent": "agent silent",
    "ok": "agent ok",
    "unasked": "agent not asked",
}
_NAMED = 3  # of those that it waits for


def line(guest: Guest, step: Step) -> str:
    """Return "db1: agent ok, 600 s, after web1 and web2, ends by T+140 s"; T is when the shutdown begins."""
    state = [] if guest.state == "running" else [f"{guest.state} ({guest.why})" if guest.why else guest.state]
    how = [f"{step.timeout:.0f} s"] if step.methods else [step.what]
    after = [f"after {_listed(step.after)}"] if step.after else []
    words = [*state, _AGENT[guest.agent], *how, *after, f"ends by T+{step.deadline:.0f} s"]
    return f"{guest.name}: {', '.join(words)}"


def _listed(names: tuple[str, ...]) -> str:
    shown = [*names[:_NAMED], f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [*names]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
