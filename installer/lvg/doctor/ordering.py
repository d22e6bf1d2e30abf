"""The order in which systemd stops what guests depend on, and how long it waits."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from lvg import systemd, units
from lvg.doctor import installed, qemus, scopes
from lvg.doctor.scopes import MACHINED, SERVICES, is_up, local_answers, stopvm_acts
from lvg.doctor.types import Check, Finding, HostFacts
from lvg.layout import is_ours
from lvg.timeline import limit

SOCKETS = {"libvirtd.service": "libvirtd.socket", "virtqemud.service": "virtqemud.socket"}
UNITS = (*SERVICES, *SOCKETS.values(), MACHINED)
PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "After", "Before", "TimeoutStopUSec")
_HOST_SECONDS = 60.0  # what else has to stop, behind the guests
_STOPPERS = (units.GUESTS, units.SHUTDOWN)


def _guests_wait(facts: HostFacts) -> Iterator[Finding]:
    """The scopes of guests wait for virt-guest-shutdown.target, and it for what stops them (libvirt's units)."""
    acting = _acting(facts)
    if not acting:
        return
    for name in acting:
        after = facts.units[name].get("After", "")
        if units.TARGET not in after.split():
            what = f"{name} is not ordered after {units.TARGET}, so systemd kills guests while it stops them"
            yield Finding("C3", "failure", what, _order(name, units.TARGET), f"After={after}")
    shown = facts.units.get(units.TARGET, {})
    if shown and not is_up(facts, units.TARGET):
        what = f"{units.TARGET} is not active, so systemd kills guests while they are stopped"
        remedy = f"systemctl start {units.TARGET}"
        yield Finding("C3", "failure", what, remedy, f"ActiveState={shown.get('ActiveState', '')}")


def _acting(facts: HostFacts) -> list[str]:
    """Return the units that stop guests, as they are. Of a masked one systemd tells nothing, and A2 tells enough."""
    masked = [name for name in _STOPPERS if facts.units.get(name, {}).get("LoadState") == "masked"]
    return [name for name in _STOPPERS if is_up(facts, name) and name not in masked]


def _order(name: str, after: str) -> str:
    folder = f"/etc/systemd/system/{name}.d"
    text = rf"[Unit]\nWants={after}\nAfter={after}\n"
    return f"mkdir -p {folder}; printf '{text}' >{folder}/order.conf; systemctl daemon-reload"


def _no_deadlock(facts: HostFacts) -> Iterator[Finding]:
    """A stop that waits for the daemon, and a start of the daemon that waits for the stop, wait for ever (measured).

    The stop connects to the socket, systemd wants to start the daemon for it, and has to wait for the stop to end. In
    a shutdown of the host it starts nothing and nothing hangs (measured): this is about stops by hand and by packages.
    """
    for name in _STOPPERS:
        after = facts.units.get(name, {}).get("After", "").split()
        for service in (each for each in SERVICES if each in after and is_up(facts, SOCKETS[each])):
            what = f"{name} is ordered after {service}: a stop of it by hand hangs while {service} is down"
            remedy = f"systemctl cat {name}  # shows where; remove that line, then: systemctl daemon-reload"
            yield Finding("C4", "warning", what, remedy, f"After={service}, {SOCKETS[service]} is active")


def _daemon_runs(facts: HostFacts) -> Iterator[Finding]:
    """A daemon that is down when the host goes down is not started any more: a connect fails at once (measured)."""
    if local_answers(facts):
        return  # it runs now: asking it may have started it
    there = [name for name in SERVICES if facts.units.get(name, {}).get("LoadState") == "loaded"]
    names = [process.guest for process in facts.qemus if process.driver == "system"]
    if not there or not names or any(is_up(facts, name) for name in there):
        return
    acts = stopvm_acts(facts)
    then = "stopvm can ask QEMU itself, but save nothing" if acts else "nobody stops them when the host goes down"
    what = f"{there[0]} does not run, but its guests do: {scopes.listed(names)}; {then}"
    evidence = f"ActiveState={facts.units[there[0]].get('ActiveState', '')}"
    yield Finding("C4b", "warning" if acts else "failure", what, f"systemctl start {there[0]}", evidence)


def _one_daemon(facts: HostFacts) -> Iterator[Finding]:
    """Both want the same guests; whichever starts second is refused or takes them over (libvirt's daemons.html)."""
    enabled = [name for name in (*SERVICES, *SOCKETS.values()) if _enabled(facts, name)]
    if all(service in enabled or socket in enabled for service, socket in SOCKETS.items()):
        idle = next((name for name in SERVICES if not is_up(facts, name)), SERVICES[0])
        what = "both libvirtd and virtqemud are enabled, and they fight over the same guests"
        yield Finding("C5", "warning", what, f"systemctl disable {idle} {SOCKETS[idle]}", ", ".join(enabled))


def _enabled(facts: HostFacts, name: str) -> bool:
    return facts.units.get(name, {}).get("UnitFileState") == "enabled"


def _fits(facts: HostFacts) -> Iterator[Finding]:
    """A shutdown is cut off by systemd when the job of its target takes too long (JobTimeoutSec=, systemd.unit(5))."""
    plan = facts.timeline
    if plan.limit is None or plan.worst + _HOST_SECONDS <= plan.limit:
        return
    limits = (f"{name}: JobTimeoutUSec={facts.units.get(name, {}).get('JobTimeoutUSec', '')}" for name in limit.UNITS)
    evidence = f"stopvm {plan.stopped or plan.budget:.0f} s, then libvirt-guests {plan.net:.0f} s; {', '.join(limits)}"
    cut = f"systemd cuts the power {plan.limit:.0f} s after the order"
    if plan.worst > plan.limit:
        what = f"stopping all guests may take {plan.worst:.0f} s, and {cut}"
        yield Finding("C6", "failure", what, _shorter(facts), evidence)
    else:
        what = f"stopping all guests may take {plan.worst:.0f} s, which leaves the host too little time: {cut}"
        yield Finding("C6", "warning", what, _shorter(facts), evidence)


def _shorter(facts: HostFacts) -> str:
    """Return the command that was given the last time, with libvirt-guests and stopvm held to their usual times."""
    short = ["PARALLEL_SHUTDOWN=100", "SHUTDOWN_TIMEOUT=240", "budget=1200"]
    command = shlex.split(installed.again(facts.survey))
    return shlex.join([*command, *(word for each in short for word in ("--set", each))])


def _has_time(facts: HostFacts) -> Iterator[Finding]:
    """A stop is killed by systemd if it takes longer than TimeoutStopSec=, 90 s by default (systemd.service(5)).

    stopvm asks for more time while it works; a unit of somebody else's does not.
    """
    for name in _acting(facts):
        shown = facts.units[name]
        seconds, needed = systemd.span(shown.get("TimeoutStopUSec", "")), _needs(facts, name)
        if seconds is not None and seconds < needed:
            grave = name == units.SHUTDOWN or not stopvm_acts(facts)
            what = f"systemd ends {name} after {seconds:.0f} s, and stopping guests may take it {needed:.0f} s"
            folder = f"/etc/systemd/system/{name}.d"
            make = f"mkdir -p {folder}; printf '[Service]\\nTimeoutStopSec=infinity\\n' >{folder}/zz-time.conf"
            remedy = f"{make}; systemctl daemon-reload"
            yield Finding("C7", "failure" if grave else "warning", what, remedy, f"TimeoutStopSec={seconds:.0f}")


def _needs(facts: HostFacts, name: str) -> float:
    """Return the seconds that a stop unit needs at most; 0 for stopvm's own, which takes care of itself."""
    if name == units.GUESTS:
        return facts.timeline.net
    if is_ours(facts.survey.units[name].text.encode("utf-8", "surrogateescape")) or installed.in_charge(facts):
        return 0.0
    return max((step.timeout for step in facts.timeline.steps), default=0.0)


CHECKS = (
    *scopes.CHECKS,
    Check("C3", "systemd keeps guests while they are stopped", _guests_wait),
    Check("C4", "a stop of guests cannot wait for itself", _no_deadlock),
    Check("C4b", "libvirt's daemon runs while guests do", _daemon_runs),
    Check("C5", "one daemon of libvirt is enabled", _one_daemon),
    Check("C6", "the longest stop ends before systemd cuts the power off", _fits),
    Check("C7", "systemd gives what stops the guests enough time", _has_time),
    *qemus.CHECKS,
)
