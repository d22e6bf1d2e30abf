"""What to do next with a guest: pure functions of what is known, without a clock or libvirt."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .policy import GuestPolicy, Policy

# systemd forces a power-off 30 minutes after it was asked for (JobTimeoutSec= of poweroff.target); one minute is
# left for everything that stops after the guests.
_SYSTEMD_LIMIT = 1740.0
_LEAST = 120.0  # seconds we work at least, whatever the net would need
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


def opening(facts: Facts, policy: GuestPolicy) -> str:
    """Return the first step for a guest: "leave", "ask", "save", "wake", "wait" or "timeout".

    A paused guest cannot react, so it is saved as it is. One that sleeps is woken first. A crashed
    one cannot react either: what `on_timeout` says happens at once. on_poweroff=restart turns a
    shutdown into a reboot, so such a guest is saved.
    """
    if policy.action == "none" or (policy.persistent_only == "true" and not facts.persistent):
        return "leave"
    if facts.state in ("shutdown", "crashed", "pmsuspended"):
        return {"shutdown": "wait", "crashed": "timeout", "pmsuspended": "wake"}[facts.state]
    if policy.action == "save" or facts.state == "paused" or facts.on_poweroff == "restart":
        return "save"
    return "ask"


def why_not_save(facts: Facts) -> str:
    """Return why a guest cannot be saved, or "" if it can be tried."""
    if not facts.persistent:
        return "it is transient"
    return "it has a host device" if facts.hostdev else ""


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


def work_seconds(policy: Policy, guests: int, host_goes_down: bool) -> float:
    """Return how long all of the stop may take, so that libvirt-guests still fits behind it."""
    if not host_goes_down:
        return policy.budget
    rounds = 1 if policy.net.parallel > 1 else max(guests, 1)
    left = _SYSTEMD_LIMIT - policy.net.shutdown_timeout * rounds
    return min(policy.budget, max(left, _LEAST))


def guest_seconds(policy: GuestPolicy, left: float) -> float:
    """Return how long a guest may take from its first request, if `left` seconds remain for its wave.

    A tenth of what is left (at most a minute) is kept for `on_timeout`, unless that is only "leave".
    """
    forced = any(step != "leave" for step in policy.on_timeout)
    return max(0.0, min(policy.timeout, left - (min(60.0, left / 10) if forced else 0.0)))


def late(facts: Facts, policy: GuestPolicy, seconds: float) -> str:
    """Return the line about a guest that did not end in time: what `on_timeout` tries first."""
    steps = [step for step in policy.on_timeout if step != "save" or not why_not_save(facts)]
    words = {"save": "saving it", "destroy": "destroying it", "leave": "leaving it to libvirt-guests"}
    return f"{facts.name}: did not end in {seconds:.0f} s: {words[(steps or ['leave'])[0]]}"


def wave_share(wave: int, waves: int) -> float:
    """Return the share of all time after which wave number `wave` (0 first) must be done."""
    return (wave + 1) / max(waves, 1)


def dependants(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> tuple[dict[str, frozenset[str]], list[str]]:
    """Return for each guest those that need it (and so stop before it), and what is wrong with `needs`.

    `needs` maps a guest to names or globs. A need that closes a circle is dropped and reported.
    """
    wrong: list[str] = []
    after: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        for other in _named(after, needs.get(name, ())):
            if _reaches(after, name, other):
                wrong.append(f"needs: {name} and {other} need each other; that {name} needs {other} is ignored")
            elif other != name:
                after[other].add(name)
    return {name: frozenset(found) for name, found in after.items()}, wrong


def _named(names: Mapping[str, object], globs: Iterable[str]) -> list[str]:
    found: list[str] = []
    for glob in globs:
        found += [glob] if glob in names else [name for name in names if fnmatchcase(name, glob)]
    return found


def _reaches(after: Mapping[str, Iterable[str]], start: str, goal: str) -> bool:
    """True if `goal` is among those that, directly or not, stop before `start`."""
    seen, todo = {start}, [start]
    while todo:
        for name in after[todo.pop()]:
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return False


def waves(after: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return the number of the wave in which each guest is stopped; 0 is first."""
    found: dict[str, int] = {}
    todo = list(after)
    while todo:
        ready = [name for name in todo if all(other in found for other in after[name])]
        if not ready:
            raise ValueError("a circle of needs")
        for name in ready:
            found[name] = 1 + max((found[other] for other in after[name]), default=-1)
        todo = [name for name in todo if name not in found]
    return found


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
