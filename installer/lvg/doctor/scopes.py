"""Does systemd keep each guest, and libvirt's daemon, until the guest was stopped? That is up to the guest's scope."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from lvg import units
from lvg.doctor import installed
from lvg.doctor.types import Check, Finding, HostFacts
from lvg.guests import Answer, Guest, running
from lvg.stopvm import decide

MACHINED = "systemd-machined.service"
SERVICES = ("libvirtd.service", "virtqemud.service")
_LOCAL = ("qemu:///system", "qemu+unix:///system")
_NAMED = 5  # guests that a message names
_INSTALL = {
    "debian": "apt-get install systemd-container; ",
    "fedora": "dnf install systemd-container; ",
    "rhel": "dnf install systemd-container; ",
    "suse": "zypper install systemd-container; ",
    "arch": "pacman -S systemd; ",  # machined is a part of it
}


def local_guests(facts: HostFacts) -> tuple[Guest, ...]:
    """Return the guests of this host's system libvirt, each once, whatever URI they were found at."""
    return tuple({guest.uuid: guest for guest in running(local_answers(facts))}.values())


def local_answers(facts: HostFacts) -> tuple[Answer, ...]:
    """Return what this host's system libvirt said, at whatever URI it was asked; empty if it did not answer."""
    return tuple(answer for answer in facts.answers if not answer.error and (answer.real or answer.uri) in _LOCAL)


def stopvm_acts(facts: HostFacts) -> bool:
    """True if stopvm will run when the host goes down; it asks QEMU itself where libvirt's daemon is gone."""
    return installed.in_charge(facts) and is_up(facts, units.SHUTDOWN)


def is_up(facts: HostFacts, name: str) -> bool:
    """True if systemd has started this unit."""
    return installed.is_up(facts.units.get(name, {}).get("ActiveState", ""))


def listed(names: Sequence[str]) -> str:
    """Return the names in one line, the first few of many."""
    more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
    return ", ".join(names[:_NAMED]) + more


def the_one(names: Sequence[str]) -> str:
    """Return the name of the guest that a finding is about, "" if it is about several."""
    return "" if names[1:] else names[0]


def subject(names: Sequence[str]) -> str:
    """Return how a message begins; that of a single guest is shown behind its name."""
    return f"{listed(names)} have" if names[1:] else "it has"


def _has_scope(facts: HostFacts) -> Iterator[Finding]:
    """Without machined libvirt makes no scopes (virsystemd.c), and QEMU stays in the group of libvirt's daemon.

    At a poweroff the daemon is then stopped in the first moment: libvirt-guests says "Can't connect to default.
    Skipping.", and the guests end with the host; stopvm brings them down cleanly without it (both were measured).
    Unless the daemon waits for virt-guest-shutdown.target, as a drop-in of lvg's has it: then it stops all of them.
    """
    known = [guest for guest in local_guests(facts) if guest.pid in facts.scopes] if facts.units else []
    yield from _in_foreign_scope(facts, [guest for guest in known if _foreign(facts.scopes[guest.pid])])
    without = [guest for guest in known if not facts.scopes[guest.pid]]
    names = [guest.name for guest in without]
    if not names or _daemon_stays(facts):
        return
    acts = stopvm_acts(facts)
    then = "stopvm can ask QEMU itself, but save nothing" if acts else "libvirt-guests finds none, and power is cut"
    what = f"{subject(names)} no machine scope: when the host goes down, libvirt's daemon stops first; {then}"
    evidence = f"{MACHINED} is {facts.units.get(MACHINED, {}).get('LoadState') or 'not known'}"
    yield Finding("C1", "warning" if acts else "failure", what, _with_scope(facts, without), evidence, the_one(names))


def _foreign(scope: str) -> bool:
    return bool(scope) and not scope.startswith("machine-")


def _in_foreign_scope(facts: HostFacts, guests: Sequence[Guest]) -> Iterator[Finding]:
    """Without machined a guest stays where its daemon was when it started it: in a login session, say (virsystemd.c).

    Such a scope waits for nobody: systemd ends it at once when the host goes down (systemd.scope(5)).
    """
    if guests:
        names, scope = [guest.name for guest in guests], facts.scopes[guests[0].pid]
        runs = f"{listed(names)} run in scopes" if names[1:] else "it runs in a scope"
        what = f"{runs} of somebody else's: systemd kills what is in it before a guest can shut down"
        yield Finding("C1", "failure", what, _with_scope(facts, guests), scope, the_one(names))


def _daemon_stays(facts: HostFacts) -> bool:
    """True if systemd keeps libvirt's daemon until guests were stopped, whether they have scopes or not."""
    daemons = [name for name in SERVICES if is_up(facts, name)]
    waits = bool(daemons) and is_up(facts, units.TARGET)  # nothing waits for a target that is not active
    return waits and set(daemons) <= set(facts.units.get(units.TARGET, {}).get("After", "").split())


def _with_scope(facts: HostFacts, guests: Sequence[Guest]) -> str:
    """Until its daemon starts again libvirt remembers that there was no machined (virsystemd.c)."""
    load = facts.units.get(MACHINED, {}).get("LoadState", "")
    daemon = next((name for name in SERVICES if is_up(facts, name)), SERVICES[0])
    install = _INSTALL.get(facts.survey.host.distro.family, "Install systemd-machined, then: ")
    mend = {"masked": f"systemctl unmask {MACHINED}; ", "not-found": install}.get(load, "")
    return f"{mend}systemctl restart {daemon}; {_again(guests)}" if mend else _again(guests)


def _again(guests: Sequence[Guest]) -> str:
    """Return how guests get a new scope: by a process of their own anew, if that may be without an end of theirs."""
    names = [shlex.quote(guest.name) for guest in guests]
    if any(guest.cannot_save or decide.why_not_save(guest.facts) for guest in guests):
        return f"lvg rehearse {' '.join(names)}  # they are stopped and started"
    if names[1:]:
        return f'for guest in {" ".join(names)}; do virsh managedsave "$guest" && virsh start "$guest"; done'
    return f"virsh managedsave {names[0]} && virsh start {names[0]}"


def _scope_waits(facts: HostFacts) -> Iterator[Finding]:
    """A scope's ordering is fixed when its guest starts, and another one while auto_shutdown_* is on (libvirt 11.6)."""
    if facts.survey.auto_shutdown:
        return  # whether that may be on is another check's question
    wrong = [guest for guest in local_guests(facts) if _too_early(facts, guest)]
    names = [guest.name for guest in wrong]
    if names:
        what = f"{subject(names)} a scope that does not wait: systemd kills its guest before it can shut down"
        yield Finding("C2", "failure", what, _again(wrong), _too_early(facts, wrong[0]), the_one(names))


def _too_early(facts: HostFacts, guest: Guest) -> str:
    """Return what systemd says of a scope that does not wait for the stop of the guests, "" if it does."""
    name = facts.scopes.get(guest.pid, "")
    shown = facts.units.get(name, {})
    if not name.startswith("machine-") or not is_up(facts, name) or "Before" not in shown:
        return ""
    waits = units.TARGET in shown["Before"].split()
    return "" if waits else f"{name}: Before={shown['Before']}, without {units.TARGET}"


CHECKS = (
    Check("C1", "each guest has a machine scope", _has_scope),
    Check("C2", "systemd keeps each guest until it was asked to shut down", _scope_waits),
)
