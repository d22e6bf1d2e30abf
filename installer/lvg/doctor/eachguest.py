"""Each guest: would it end cleanly? Judged by what libvirt and its agent say of it now, and by the policy."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator

from lvg.doctor.names import names_are_known
from lvg.doctor.remedies import rule, tell, virsh
from lvg.doctor.stopped import they_are_back
from lvg.doctor.types import Check, Finding, HostFacts
from lvg.guests import Guest, running
from lvg.guests.definition import HOST_DEVICE, HOST_NETWORK
from lvg.stopvm import decide
from lvg.stopvm.policy import GuestPolicy

_NEAR = 0.8  # the share of its time that a guest may need as a rule
_AMPLE = 2.0  # times what it needs as a rule is what it should have
_BEGINS = "starting up"
_OF_THE_HOST = (HOST_DEVICE, HOST_NETWORK)
_RUN_INSIDE = frozenset(("guest-exec", "guest-exec-status"))
_NO_AGENT = {
    "none": ("it has no channel for an agent", "# add a channel org.qemu.guest_agent.0, start it anew, add the agent"),
    "off": ("no agent runs in it", "systemctl enable --now qemu-guest-agent"),
    "silent": ("its agent does not answer", "systemctl restart qemu-guest-agent"),
}


def _guests(facts: HostFacts) -> Iterator[tuple[Guest, GuestPolicy]]:
    for guest in running(facts.answers):
        yield guest, facts.policy.for_guest(guest.name)


def _it_can_react(facts: HostFacts) -> Iterator[Finding]:
    """A guest that does not run cannot be shut down: libvirt refuses (qemuDomainShutdownFlags)."""
    for guest, policy in _guests(facts):
        saved = policy.action == "save" and not guest.cannot_save
        if guest.state in ("running", "shutdown") or (guest.state == "paused" and (saved or guest.why == _BEGINS)):
            continue
        why = f" ({guest.why})" if guest.why else ""
        then = "it is only saved as it is" if _may_save(guest, policy) else "nothing ends it cleanly"
        say, remedy = {
            "pmsuspended": ("it sleeps, and has to wake up before it can shut down", tell(guest, "dompmwakeup")),
            "crashed": (
                f"it has crashed{why}: nothing ends it cleanly any more",
                f"{tell(guest, 'destroy')} && {tell(guest, 'start')}  # what it had in memory is gone then",
            ),
        }.get(guest.state, (f"it is paused{why} and cannot shut down: {then}", tell(guest, "resume")))
        if guest.why == "io-error":
            remedy = f"{tell(guest, 'domblkerror')}  # mend that disk, then: {remedy}"
        yield Finding("E1", "failure", say, remedy, f"libvirt: {guest.state}{why}", guest.name)


def _may_save(guest: Guest, policy: GuestPolicy) -> bool:
    return policy.action != "none" and not guest.cannot_save


def _its_end_is_an_end(facts: HostFacts) -> Iterator[Finding]:
    for guest, _ in _guests(facts):
        if guest.on_poweroff == "destroy":
            continue
        does = {"restart": "is a reboot", "preserve": "leaves its process behind"}.get(guest.on_poweroff, "")
        say = (
            f"its own shutdown {does or 'does not end it'} (on_poweroff={guest.on_poweroff}); only stopvm changes that"
        )
        config = ("--live", "--config") if guest.persistent else ("--live",)
        remedy = tell(guest, "set-lifecycle-action", "poweroff", "destroy", *config)
        yield Finding("E2", "failure", say, remedy, f"<on_poweroff>{guest.on_poweroff}</on_poweroff>", guest.name)


def _it_can_be_asked(facts: HostFacts) -> Iterator[Finding]:
    for guest, _ in _guests(facts):
        agent = guest.agent in ("ok", "unasked") and "guest-shutdown" not in guest.agent_refuses
        if not guest.acpi and not agent:
            say = "it has no ACPI, and no agent that would shut it down: it cannot be asked"
            remedy = f"{tell(guest, 'edit')}  # <features><acpi/></features> counts from its next start"
            yield Finding("E3", "warning", say, remedy, "no <acpi/> in its <features>", guest.name)


def _its_agent_answers(facts: HostFacts) -> Iterator[Finding]:
    for guest, _ in _guests(facts):
        if guest.agent == "silent":
            say = "its agent does not answer: each stop waits for it, then goes on without it"
            remedy = f"{_NO_AGENT['silent'][1]}  # in the guest"
            yield Finding("E4", "warning", say, remedy, "guest-ping: no answer", guest.name)


def _its_commands_can_run(facts: HostFacts) -> Iterator[Finding]:
    for guest, policy in _guests(facts):
        if not policy.before_stop or decide.opening(guest.facts, policy) == "leave":
            continue
        why, remedy = _NO_AGENT.get(guest.agent, ("", ""))
        if refused := sorted(_RUN_INSIDE & guest.agent_refuses):
            why = f"its agent refuses {' and '.join(refused)}"
            remedy = (
                "systemctl edit qemu-guest-agent  # without guest-exec in --block-rpcs (RHEL: /etc/sysconfig/qemu-ga)"
            )
        if why:
            command = f"{tell(guest, 'edit')}  {remedy}" if guest.agent == "none" else f"{remedy}  # in the guest"
            say = f"the commands of before_stop cannot run in it: {why}"
            yield Finding(
                "E5", "failure", say, command, f"before_stop: {shlex.join(policy.before_stop[0])}", guest.name
            )


def _no_host_device_is_saved(facts: HostFacts) -> Iterator[Finding]:
    yield from _cannot_save(facts, "E6", of_the_host=True)


def _what_is_saved_can_be(facts: HostFacts) -> Iterator[Finding]:
    yield from _cannot_save(facts, "E7", of_the_host=False)


def _cannot_save(facts: HostFacts, check: str, of_the_host: bool) -> Iterator[Finding]:
    """Only where nothing but a save is left for a guest."""
    for guest, policy in _guests(facts):
        reasons = [why for why in guest.cannot_save if (why in _OF_THE_HOST) == of_the_host]
        last = policy.action == "shutdown" and set(policy.on_timeout) == {"save"}
        if not reasons or not (last or policy.action == "save"):
            continue
        when = "is to be saved" if policy.action == "save" else "is to be saved if it does not end in time"
        values = 'on_timeout = ["leave"]' if last else 'action = "shutdown"'
        say = f"it {when}, and cannot be: {reasons[0]}"
        yield Finding(check, "failure", say, rule(facts, guest, values), "; ".join(reasons), guest.name)


def _it_is_defined(facts: HostFacts) -> Iterator[Finding]:
    for guest, policy in _guests(facts):
        if guest.persistent:
            continue
        file = shlex.quote(f"/root/{guest.uuid}.xml")
        remedy = f"{tell(guest, 'dumpxml', '--inactive')} >{file} && {virsh(guest.uri, 'define')} {file}"
        lost = policy.persistent_only == "true"
        say = "PERSISTENT_ONLY=true leaves it alone: it loses power" if lost else "nothing starts it after a shutdown"
        yield Finding(
            "E8", "failure" if lost else "warning", f"it is transient: {say}", remedy, "no definition", guest.name
        )


def _nothing_holds_it(facts: HostFacts) -> Iterator[Finding]:
    for guest, _ in _guests(facts):
        if guest.job:
            say = f"a {guest.job} of it is at work: a stop now would wait for it, or end it"
            yield Finding("E10", "warning", say, tell(guest, "domjobinfo"), f"job: {guest.job}", guest.name)
        for disk in guest.block_jobs:
            say = f"its disk {disk} is being copied: a stop now would end that"
            yield Finding("E10", "warning", say, tell(guest, "blockjob", disk, "--info"), "<mirror>", guest.name)


def _it_has_the_time_it_needs(facts: HostFacts) -> Iterator[Finding]:
    by_name = {(guest.uri, guest.name): guest for guest, _ in _guests(facts)}
    for step in facts.timeline.steps:
        guest = by_name.get((step.uri, step.name))
        if guest is None or not step.methods or step.usual is None or step.usual <= _NEAR * step.timeout:
            continue
        seconds = 30 * math.ceil(_AMPLE * step.usual / 30)
        say = f"its stops take {step.usual:.0f} s as a rule, and it gets {step.timeout:.0f} s"
        remedy = rule(facts, guest, f"timeout = {seconds}")
        yield Finding("E11", "warning", say, remedy, "records of its stops: lvg report", step.name)


def _it_starts_fresh(facts: HostFacts) -> Iterator[Finding]:
    for answer in facts.answers:
        for name in answer.saved:
            guest = Guest("", name, answer.uri)
            say = "it is off with a saved state: its next start goes on from there"
            yield Finding("E14", "warning", say, tell(guest, "start"), "a managed save image", name)
    for guest, _ in _guests(facts):
        if guest.managed_save:
            say = "a saved state of an earlier run is still there: its next start would go back to that"
            yield Finding("E14", "warning", say, tell(guest, "managedsave-remove"), "a managed save image", guest.name)


def _its_emulator_is_there(facts: HostFacts) -> Iterator[Finding]:
    for guest, _ in _guests(facts):
        if guest.emulator_is_gone:
            say = f"its emulator {guest.emulator} is gone: once stopped it neither starts nor resumes"
            remedy = f"{tell(guest, 'edit')}  # <emulator>, or install the package again"
            yield Finding("E15", "warning", say, remedy, f"{guest.emulator}: no such file", guest.name)


CHECKS = (
    Check("E1", "each guest runs, so that it can be asked to shut down", _it_can_react),
    Check("E2", "a guest's own shutdown is its end", _its_end_is_an_end),
    Check("E3", "each guest has ACPI or an agent", _it_can_be_asked),
    Check("E4", "each guest agent that is there answers", _its_agent_answers),
    Check("E5", "commands of before_stop can run in their guests", _its_commands_can_run),
    Check("E6", "no guest with a device of the host has to be saved", _no_host_device_is_saved),
    Check("E7", "each guest that has to be saved can be", _what_is_saved_can_be),
    Check("E8", "each guest is defined, and comes back", _it_is_defined),
    Check("E10", "no job holds a guest", _nothing_holds_it),
    Check("E11", "each guest has more time than it needs", _it_has_the_time_it_needs),
    Check("E14", "no guest goes back to an old state when it starts", _it_starts_fresh),
    Check("E15", "each guest's emulator is installed", _its_emulator_is_there),
    Check("E16", "the policy names guests that exist, without circles", names_are_known),
    Check("E17", "guests that were stopped by hand are back", they_are_back),
)
