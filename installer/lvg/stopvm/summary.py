"""What a stop says first and last: pure functions from guests to lines."""

from collections.abc import Iterable, Sequence

from . import decide, timing
from .decide import Facts
from .history import Entry
from .policy import GuestPolicy

_NAMES = 20  # that are said in one line


def opening_lines(guests: Iterable[tuple[Facts, GuestPolicy]], left: float) -> list[str]:
    """Return who is asked and who is saved, if `left` seconds remain for all; those that are left are not named."""
    asked: list[str] = []
    saved: list[str] = []
    crashed: list[str] = []
    seconds = 0.0
    for facts, policy in guests:
        step = decide.opening(facts, policy)
        if step == "save":
            saved.append(facts.name)
        elif step == "timeout":
            crashed.append(facts.name)
        elif step != "leave":
            asked.append(facts.name)
            seconds = max(seconds, timing.guest_seconds(policy, left))
    lines = [f"asking {_guests(len(asked))}: {_listed(asked)} (up to {seconds:.0f} s each)"] if asked else []
    lines += [f"saving {_guests(len(saved))}: {_listed(saved)}"] if saved else []
    has = "has" if len(crashed) == 1 else "have"
    says = f"{_guests(len(crashed))} {has} crashed: {_listed(crashed)}: what on_timeout says happens at once"
    return [*lines, says] if crashed else lines


def closing_line(entries: Sequence[Entry], out_of_reach: bool = False, left_out: int = 0) -> str:
    """Return the last line of a stop, from the verdicts; so many guests were `left_out` of it as the admin asked."""
    down = [entry.verdict for entry in entries if entry.verdict not in ("left", "lost", "")]
    parts = []
    if down:
        forced = [f"{down.count(word)} of them {word}" for word in ("saved", "destroyed") if word in down]
        whole = len(down) == len(entries) and not out_of_reach and not left_out
        parts.append(", ".join(["all guests are down" if whole else f"{_guests(len(down))} {_be(down)} down", *forced]))
    wanted = [entry for entry in entries if entry.verdict == "left" and entry.wanted]
    if wanted:
        parts.append(f"{_guests(len(wanted))} {_be(wanted)} left to libvirt-guests, as the policy says")
    left = [entry.name for entry in entries if entry.verdict in ("left", "") and not (entry.verdict and entry.wanted)]
    if left:
        parts.append(
            f"{_guests(len(left))} could not be stopped and {_be(left)} left to libvirt-guests: {_listed(left)}"
        )
    lost = [entry.name for entry in entries if entry.verdict == "lost"]
    if lost:
        parts.append(f"{_guests(len(lost))} {_be(lost)} lost: {_listed(lost)}")
    if left_out:
        parts.append(f"{left_out} {'runs' if left_out == 1 else 'run'} on, as asked")
    if out_of_reach:
        parts.append("libvirt was out of reach")
    return "; ".join(parts) or "no guest ran"


def _guests(count: int) -> str:
    return f"{count} guest" if count == 1 else f"{count} guests"


def _be(some: Sequence[object]) -> str:
    return "is" if len(some) == 1 else "are"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")
