"""libvirt in this program's words: guests, states, events, errors. Imported only when libvirt is needed."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import libvirt
import libvirt_qemu

from . import domainjobs
from .decide import Facts
from .session import NoAgentError

_AGENT_ANSWERS = 5  # seconds
# no channel in the guest's definition (qemuDomainAgentAvailable), or a driver without agents
_NO_AGENT = (libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, libvirt.VIR_ERR_NO_SUPPORT)


def find(connection: "libvirt.virConnect", guest: Facts) -> "libvirt.virDomain":
    """Return libvirt's handle of a guest. Raises libvirtError."""
    return connection.lookupByUUIDString(guest.uuid) if guest.uuid else connection.lookupByName(guest.name)


def reason(error: "libvirt.libvirtError") -> str:
    """Return libvirt's own words for what went wrong."""
    return str(error.get_error_message() or error)


_STATES = {
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_SHUTOFF: "off",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "pmsuspended",
}
# A job that holds a guest pauses it for a while; that is no guest that somebody paused. But one that was resumed from a
# saved image and left paused has "migration" as its reason from then on (qemuProcessStart).
_FOR_A_JOB = (
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
    libvirt.VIR_DOMAIN_PAUSED_SAVE,
    libvirt.VIR_DOMAIN_PAUSED_DUMP,
    libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT,
)
_PAUSED = {
    libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN: "shutdown",
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: "crashed",
}
_STOPPED = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "lost",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: "moved",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: "saved",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "lost",
}
_SHUTDOWN = {
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_GUEST: "finished",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST: "killed",
}
_SHUTOFF = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: "clean",
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "lost",
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: "moved",
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: "saved",
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "lost",
}


def meaning(event: int, detail: int) -> str:
    """Return what a lifecycle event means to us, or "" if nothing."""
    if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
        return "started"
    if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
        return f"stopped:{_STOPPED.get(detail, 'clean')}"
    if event == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN:  # QEMU older than 2.10 does not say who wanted it
        return _SHUTDOWN.get(detail, "")
    if event == libvirt.VIR_DOMAIN_EVENT_CRASHED:  # one that goes on in its crash kernel ends by itself
        return "crashed" if detail == libvirt.VIR_DOMAIN_EVENT_CRASHED_PANICKED else ""
    return "resumed" if event == libvirt.VIR_DOMAIN_EVENT_RESUMED else ""


def start(domain: "libvirt.virDomain", flags: int) -> str:
    """Start a domain and return how it came, as Session.start does. Raises libvirtError."""
    if domain.isActive():
        return "running"
    saved = False
    with suppress(libvirt.libvirtError):  # LXC has no such thing
        saved = bool(domain.hasManagedSaveImage(0))
    try:
        domain.createWithFlags(flags)
    except libvirt.libvirtError:
        if domain.isActive():  # libvirt's own autostart was quicker
            return "running"
        raise
    return "resumed" if saved else "started"


def how_ended(connection: "libvirt.virConnect", guest: Facts) -> str:
    """Return how a guest ended, "" if libvirt has forgotten it or the guest is active. Raises libvirtError."""
    try:
        state, why = find(connection, guest).state()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return ""
    return _SHUTOFF.get(why, "") if state == libvirt.VIR_DOMAIN_SHUTOFF else ""


def running(connection: "libvirt.virConnect", uri: str) -> list[tuple[Facts, "libvirt.virDomain"]]:
    """Return all active guests with libvirt's handles of them. Raises libvirtError.

    libvirt lists the usual kinds, so that thousands of guests need not be asked one by one.
    """
    domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    plain = _active(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)
    persistent = _active(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)

    def ask(some: "Sequence[libvirt.virDomain]") -> list[tuple[Facts | None, "libvirt.virDomain"]]:
        return [(facts(each, uri, each.UUID() in plain, each.UUID() in persistent), each) for each in some]

    half = len(domains) // 2
    with ThreadPoolExecutor(2) as threads:  # one asks while the other one waits for an answer
        found = [each for part in threads.map(ask, (domains[:half], domains[half:])) for each in part]
    return [(guest, domain) for guest, domain in found if guest]


def _active(connection: "libvirt.virConnect", kind: int) -> set[bytes]:
    """Return the UUIDs of the active guests of a kind, none if the driver has no such list: then each is asked."""
    with suppress(libvirt.libvirtError):
        domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE | kind)
        return {domain.UUID() for domain in domains}
    return set()


# What any program keeps with a guest; it may look like anything else in a definition, and comes before most of it.
_METADATA = re.compile(r"<metadata>.*</metadata>", re.DOTALL)


def facts(domain: "libvirt.virDomain", uri: str, plain: bool = False, persistent: bool = False) -> Facts | None:
    """Ask what is to be known of a guest; None if it is not running (any more). What fails is taken as usual.

    `plain`: it is known to be running, not paused or the like; `persistent`: it is known to be that.
    """
    uuid, name, state, xml, lasting = domain.UUIDString(), domain.name(), "running", "", True
    with suppress(libvirt.libvirtError):
        state = state if plain else _state(domain)
        lasting = persistent or bool(domain.isPersistent())
        xml = _METADATA.sub("", domain.XMLDesc(0))
    if state == "off":
        return None
    found = re.search(r"<on_poweroff>([a-z-]+)</on_poweroff>", xml)
    on_poweroff = found[1] if found else "destroy"
    memory = re.search(r"<currentMemory unit='KiB'>(\d+)</currentMemory>", xml)
    mib = int(memory[1]) / 1024 if memory else 0.0
    return Facts(uuid, name, uri, state, lasting, agent_is_up(xml), "<hostdev " in xml, on_poweroff, mib)


def _state(domain: "libvirt.virDomain") -> str:
    state, why = domain.state()
    if state == libvirt.VIR_DOMAIN_PAUSED and why in _FOR_A_JOB and not _has_job(domain):
        state, why = domain.state()  # again: the job may just have ended
        return state_in_words(state, why, job=False)
    return state_in_words(state, why)


def _has_job(domain: "libvirt.virDomain") -> bool:
    try:
        return bool(domainjobs.operation(domain))
    except libvirt.libvirtError:
        return True  # as for a migration to this host: its statistics are the other one's


def state_in_words(state: int, why: int, job: bool = True) -> str:
    """Return the state of a domain in the words of Facts, or "off". `job`: somebody's job is at work."""
    found = _STATES.get(state, "running")
    if found == "paused" and why in _FOR_A_JOB:
        return "running" if job else "paused"
    return _PAUSED.get(why, found) if found == "paused" else found


def agent_is_up(xml: str) -> bool:
    """True if the guest's agent holds its channel open, as the live XML says."""
    channels = re.findall(r"<target type='virtio' name='org\.qemu\.guest_agent\.0'[^>]*>", xml)
    return any("state='connected'" in channel for channel in channels)


def ask_agent(command: str, domain: "libvirt.virDomain") -> str:
    """Return what the guest's agent answers to a command. Raises libvirtError, and NoAgentError if it can have none."""
    try:
        return str(libvirt_qemu.qemuAgentCommand(domain, command, _AGENT_ANSWERS, 0))
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NO_AGENT:
            raise NoAgentError(reason(error)) from None
        raise
