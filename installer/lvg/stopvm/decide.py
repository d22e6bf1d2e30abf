"""What to do next with a guest: pure functions of what is known, without a clock or libvirt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .policy import GuestPolicy

_AFTER_AGENT = 20.0  # seconds until ACPI is tried on a guest whose agent accepted, if `resend` is 0


@dataclass(frozen=True)
class Facts:
    """What is known of a running guest before anything is asked of it."""

    uuid: str
    name: str
    uri: str = "default"
    state: str = "running"  # running, paused, pmsuspended, crashed, shutdown (going down by itself already)
    persistent: bool = True
    agent: bool = False  # its guest agent has the channel open
    hostdev: bool = False
    on_poweroff: str = "destroy"
    memory: float = 0.0  # MiB; 0 = not known


def opening(facts: Facts, policy: GuestPolicy) -> str:
    """Return the first step for a guest: "leave", "ask", "save", "wake", "wait" or "timeout".

    A paused guest cannot react, so it is saved as it is. One that sleeps is woken first. A crashed
    one cannot react either: what `on_timeout` says happens at once.
    """
    if policy.action == "none" or (policy.persistent_only == "true" and not facts.persistent):
        return "leave"
    if facts.state in ("shutdown", "crashed", "pmsuspended"):
        return {"shutdown": "wait", "crashed": "timeout", "pmsuspended": "wake"}[facts.state]
    return "save" if policy.action == "save" or facts.state == "paused" else "ask"


def why_not_save(facts: Facts) -> str:
    """Return why a guest cannot be saved, or "" if it can be tried."""
    if not facts.persistent:
        return "it is transient"
    return "it has a host device" if facts.hostdev else ""


def may_be_saved(facts: Facts, policy: GuestPolicy) -> bool:
    """True if the policy has the guest saved when it does not end in time, and nothing stands against it."""
    if policy.action == "none" or why_not_save(facts):
        return False
    return "save" in policy.on_timeout[: _position("leave", policy.on_timeout)]


def _position(step: str, steps: Sequence[str]) -> int:
    return steps.index(step) if step in steps else len(steps)


def without_libvirt(policy: GuestPolicy) -> GuestPolicy:
    """Return how a guest is stopped when only QEMU can be asked: nobody can save it, and no libvirt-guests helps."""
    return replace(policy, action="shutdown", on_timeout=tuple(step for step in policy.on_timeout if step != "save"))


def methods(facts: Facts, policy: GuestPolicy) -> tuple[str, ...]:
    """Return the ways to ask, in turn: the agent only if it listens; ACPI if nothing else is left."""
    found = tuple(way for way in policy.methods if way != "agent" or facts.agent)
    return found or ("acpi",)


def next_press(policy: GuestPolicy, presses: int) -> float | None:
    """Return the seconds until ACPI is pressed (again), or None for never."""
    if "acpi" not in policy.methods and presses == 0:
        return None  # only the agent is wanted, and it accepted
    if presses == 0:
        return policy.resend or _AFTER_AGENT
    return policy.resend or None


def late(facts: Facts, policy: GuestPolicy, seconds: float, why: str = "") -> str:
    """Return the line about a guest that does not end: what `on_timeout` tries first. `why`: "" if time is up."""
    steps = [step for step in policy.on_timeout if step != "save" or not why_not_save(facts)]
    words = {"save": "saving it", "destroy": "destroying it", "leave": "leaving it to libvirt-guests"}
    return f"{facts.name}: {why or f'did not end in {seconds:.0f} s'}: {words[(steps or ['leave'])[0]]}"


def exit_code(verdicts: Iterable[tuple[str, bool]], unreachable: bool) -> int:
    """Return stop's exit code from (verdict, as the policy wants it) pairs.

    0 all clean, 1 some forced, 2 some left or lost, 3 libvirt out of reach.
    """
    if unreachable:
        return 3
    bad = {verdict for verdict, wanted in verdicts if not wanted}
    if bad & {"left", "lost"}:
        return 2
    return 1 if bad - {"clean"} else 0
