"""Is there room on the disk for guests that are saved? What else the host's own resources decide is beside it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from lvg.doctor import installed, power, scopes
from lvg.doctor.types import Check, Finding, HostFacts
from lvg.guests import Guest
from lvg.stopvm import decide

SAVES = "/var/lib/libvirt/qemu/save"  # of the QEMU system driver; it cannot be configured
QEMU_CONF = "/etc/libvirt/qemu.conf"
FILES = (QEMU_CONF, *power.FILES)
FOLDERS = (SAVES,)
UNITS = power.UNITS
_SPARE = 64.0  # MiB that stopvm leaves on the disk (saving.py)
_COMPRESSED = re.compile(r'^\s*save_image_format\s*=\s*"(?!raw")', re.MULTILINE)


def _room_for_saves(facts: HostFacts) -> Iterator[Finding]:
    room = facts.free.get(SAVES)
    if room is None or _COMPRESSED.search(facts.files.get(QEMU_CONF, "")):
        return  # nobody knows how much compressed images need
    room = max(room - _SPARE, 0.0)
    local = scopes.local_guests(facts)
    saved = [guest for guest in local if _saved_first(facts, guest)]
    late = [guest for guest in local if guest not in saved and _saved_late(facts, guest)]
    yield from _for_all(facts, saved, room)
    yield from _for_each(facts, late, room)


def _saved_first(facts: HostFacts, guest: Guest) -> bool:
    policy = facts.policy.for_guest(guest.name)
    opening = decide.opening(guest.facts, policy)
    by_net = opening == "leave" and policy.action == "none" and facts.policy.net.on_shutdown != "shutdown"
    return (opening == "save" or by_net) and not decide.why_not_save(guest.facts)


def _saved_late(facts: HostFacts, guest: Guest) -> bool:
    return decide.may_be_saved(guest.facts, facts.policy.for_guest(guest.name))


def _for_all(facts: HostFacts, saved: Sequence[Guest], room: float) -> Iterator[Finding]:
    """Guests that are saved whatever happens have to fit all together."""
    now, most = (sum(sizes) for sizes in zip((0.0, 0.0), *(_mib(facts, guest) for guest in saved), strict=True))
    names, evidence = [guest.name for guest in saved], f"{SAVES}: {room:.0f} MiB can be used"
    if now > room:
        what = f"{scopes.subject(names)} no room to be saved: {now:.0f} MiB of memory, and {room:.0f} MiB are free"
        yield Finding("D1", "failure", what, _with_room(facts, now), evidence, scopes.the_one(names))
    elif most > room:
        what = (
            f"{scopes.subject(names)} no room to be saved with all memory in use: {most:.0f} MiB, {room:.0f} are free"
        )
        yield Finding("D1", "warning", what, _with_room(facts, most), evidence, scopes.the_one(names))


def _for_each(facts: HostFacts, late: Sequence[Guest], room: float) -> Iterator[Finding]:
    """Guests that are saved only at their deadline are seldom many: each has to fit alone."""
    sizes = {guest.name: _mib(facts, guest)[0] for guest in late}
    names = [name for name, mib in sizes.items() if mib > room]
    if names:
        most = max(sizes.values())
        what = f"{scopes.subject(names)} no room to be saved at the deadline: {most:.0f} MiB, and {room:.0f} are free"
        evidence = f"{SAVES}: {room:.0f} MiB can be used"
        yield Finding("D1", "warning", what, _with_room(facts, most), evidence, scopes.the_one(names))


def _mib(facts: HostFacts, guest: Guest) -> tuple[float, float]:
    """Return how much a save of the guest writes now, and at most: pages it never touched cost nothing."""
    resident = next((each.resident for each in facts.qemus if each.pid == guest.pid), 0.0)
    return min(resident or guest.memory, guest.memory or resident), max(guest.memory, 0.0)


def _with_room(facts: HostFacts, mib: float) -> str:
    shut_down = shlex.join([*shlex.split(installed.again(facts.survey)), "--set", "action=shutdown"])
    return f"df -h {SAVES}  # {mib + _SPARE:.0f} MiB have to be free there; or save nobody first: {shut_down}"


CHECKS = (Check("D1", "there is room for guests that are saved", _room_for_saves), *power.CHECKS)
