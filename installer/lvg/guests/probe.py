"""Asks libvirt who runs, and says what it hears as lines of JSON: a program of its own, which may hang or be killed.

    python3 -I probe.py UNTIL NAMES URI...

`UNTIL` is when it has to end, on the monotonic clock. `NAMES` is a JSON list of patterns: the agents of these guests
say which commands they take. Standard library and libvirt only. Each URI has a thread, so that one that hangs costs
the others nothing; each line is written when it is known.

Nothing is asked that changes a guest. An agent is asked for its system by virDomainGetGuestInfo: a command of ours
(qemuAgentCommand) would mark the guest as tainted in libvirt's log, for as long as it runs. So only those of NAMES get
one, since libvirt has no call for what they are asked; a stop runs commands in them as well.

One long file: it is run by its path, alone, and `-I` keeps Python from importing what lies beside it.
"""

import html
import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

try:
    import libvirt
    import libvirt_qemu
except ImportError as error:
    print(json.dumps({"missing": str(error)}))
    raise SystemExit from None

# libvirtd has 20 threads for all its clients, and takes 5 calls of one client at once. One that waits for an agent
# that is deaf is taken for 5 s, whatever timeout is asked for: most have to stay free for others.
_CONNECTIONS, _ASKED_AT_ONCE = 3, 4
_AGENT_WITHIN = 3.0  # seconds; a guest may be busy
_CLOSE_WITHIN = 0.2  # seconds
_LONGEST = 1 << 20  # characters of a definition, or of what an agent says
_LOOK_EVERY = 0.02  # seconds
_CONNECTED = re.compile(r"<target type='virtio' name='org\.qemu\.guest_agent\.0'[^>]* state='connected'")
_EMULATOR = re.compile(r"<emulator>([^<]+)</emulator>")
_KINDS = ("RUNNING", "PERSISTENT", "AUTOSTART", "MANAGEDSAVE")
_writing = threading.Lock()

Kind = set[bytes] | None  # UUIDs of guests; None if libvirt has no list of them


def _say(**words: object) -> None:
    line = json.dumps(words).encode() + b"\n"
    with _writing:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


class Agents:
    """Asks the agents of the guests at one URI, over up to so many connections."""

    def __init__(self, uri: str, connections: int, names: Sequence[str]) -> None:
        self._uri, self._connections, self._names = uri, connections, names
        self._guests: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._serving: threading.Thread | None = None
        self._lock = threading.Lock()
        self._asked: dict[str, float] = {}  # since when an agent has owed us its first answer
        self._left = 0  # guests whose agents are not done with

    @property
    def done(self) -> bool:
        """True if no agent is waited for; those that owe an answer for too long are silent."""
        with self._lock:
            late = [uuid for uuid, since in self._asked.items() if time.monotonic() - since > _AGENT_WITHIN]
        for uuid in late:
            if self._answered(uuid):
                self._settle(uuid, "silent")
        return self._left == 0

    def ask(self, uuid: str) -> None:
        """Have the agent of a guest asked soon."""
        with self._lock:
            self._left += 1
        self._guests.put(uuid)
        if self._serving is None:
            self._serving = _thread(self._serve)

    def close(self, seconds: float) -> None:
        """End the connections; one with a call that still waits for a deaf agent cannot be ended, and is left."""
        for _ in range(self._connections * _ASKED_AT_ONCE):
            self._guests.put(None)
        if self._serving is not None:
            self._serving.join(seconds)

    def _serve(self) -> None:
        """Open the connections and have guests asked over them; if there is none, no agent is asked."""
        opened = list[threading.Thread]()
        with suppress(libvirt.libvirtError):
            while len(opened) < self._connections:
                opened.append(_thread(partial(self._over, _open(self._uri))))
        while not opened and (uuid := self._guests.get()) is not None:
            self._settle(uuid, "")
        for each in opened:
            each.join()

    def _over(self, connection: "libvirt.virConnect") -> None:
        for each in [_thread(partial(self._work, connection)) for _ in range(_ASKED_AT_ONCE)]:
            each.join()
        connection.close()

    def _work(self, connection: "libvirt.virConnect") -> None:
        while (uuid := self._guests.get()) is not None:
            with self._lock:
                self._asked[uuid] = time.monotonic()
            state = self._talk(connection, uuid)
            if self._answered(uuid):  # else it was too late
                self._settle(uuid, state)

    def _talk(self, connection: "libvirt.virConnect", uuid: str) -> str:
        """Say what an agent says. Return "ok", "silent", or "" if libvirt has no answer: the guest has just ended."""
        try:
            domain = connection.lookupByUUIDString(uuid)
            _say(uri=self._uri, agent=uuid, os=_system(domain), info=self._commands(domain))
        except libvirt.libvirtError as error:
            return "silent" if error.get_error_code() == libvirt.VIR_ERR_AGENT_UNRESPONSIVE else ""
        except ValueError:
            return "ok"  # what it says is no text
        return "ok"

    def _commands(self, domain: "libvirt.virDomain") -> str:
        """Return what the agent says of its commands, "" for a guest where that does not matter."""
        if any(fnmatchcase(domain.name(), name) for name in self._names):
            with suppress(libvirt.libvirtError):
                command = json.dumps({"execute": "guest-info"})
                return _bounded(str(libvirt_qemu.qemuAgentCommand(domain, command, int(_AGENT_WITHIN), 0)))
        return ""

    def _answered(self, uuid: str) -> bool:
        with self._lock:
            return self._asked.pop(uuid, None) is not None

    def _settle(self, uuid: str, state: str) -> None:
        if state:
            _say(uri=self._uri, agent=uuid, state=state)
        with self._lock:
            self._left -= 1


class Daemon:
    """The libvirt at one URI."""

    def __init__(self, uri: str, names: Sequence[str]) -> None:
        self._uri, self._names = uri, names
        self._listed = threading.Event()
        self._agents = Agents(uri, 1, names)
        self._real = ""

    @property
    def done(self) -> bool:
        """True if there is nothing more to hear from it."""
        return self._listed.is_set() and self._agents.done

    def ask(self) -> None:
        """Say all about it but what agents know; never raises."""
        begin = time.monotonic()
        try:
            connection = _open_to_read(self._uri)
            self._ask(connection)
            _say(uri=self._uri, listed=True, seconds=time.monotonic() - begin)
            connection.close()
        except libvirt.libvirtError as error:
            _say(uri=self._uri, error=str(error.get_error_message() or error))
        except Exception as error:  # a fault of ours is told as well
            _say(uri=self._uri, error=repr(error))
        self._listed.set()

    def close(self, seconds: float) -> None:
        """End what is still connected."""
        self._agents.close(seconds)

    def _ask(self, connection: "libvirt.virConnect") -> None:
        self._real = connection.getURI()
        if not urlsplit(self._real).netloc:  # on this host, where a connection is cheap
            self._agents = Agents(self._uri, _CONNECTIONS, self._names)
        _say(uri=self._uri, real=self._real, version=connection.getLibVersion())
        kinds = {kind: _listed(connection, kind) for kind in _KINDS}
        active = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        off = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE)
        saved = [each.name() for each in off if each.UUID() in (kinds["MANAGEDSAVE"] or ())]
        names = [each.name() for each in active]
        _say(uri=self._uri, active=names, off=[each.name() for each in off], saved=saved)
        for tell in (partial(self._guest, kinds), self._job):
            for domain in active:
                with suppress(libvirt.libvirtError):  # it has just ended
                    tell(domain)

    def _guest(self, kinds: dict[str, Kind], domain: "libvirt.virDomain") -> None:
        plain = domain.UUID() in (kinds["RUNNING"] or ())
        state, why = (libvirt.VIR_DOMAIN_RUNNING, 0) if plain else domain.state()
        if state == libvirt.VIR_DOMAIN_SHUTOFF:
            return
        xml, name, uuid = _bounded(domain.XMLDesc(0)), domain.name(), domain.UUIDString()
        _say(
            uri=self._uri,
            guest=uuid,
            name=name,
            state=(state, why),
            persistent=_is(domain, kinds["PERSISTENT"], domain.isPersistent, True),
            autostart=_is(domain, kinds["AUTOSTART"], domain.autostart, False),
            managed_save=_is(domain, kinds["MANAGEDSAVE"], domain.hasManagedSaveImage, False),
            xml=xml,
            pid=_pid(name, uuid) if self._real == "qemu:///system" else 0,
            emulator_is_gone=self._real.startswith("qemu:///") and _is_gone(xml),
        )
        if state == libvirt.VIR_DOMAIN_RUNNING and _CONNECTED.search(xml):
            self._agents.ask(uuid)

    def _job(self, domain: "libvirt.virDomain") -> None:
        try:
            job = domain.jobStats()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
                raise
            # A migration to this host: its statistics are the other one's.
            job = {"type": -1, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN}
        if job.get("type", libvirt.VIR_DOMAIN_JOB_NONE) != libvirt.VIR_DOMAIN_JOB_NONE:
            _say(uri=self._uri, job=domain.UUIDString(), operation=job.get("operation", 0))


def _system(domain: "libvirt.virDomain") -> str:
    """Return the name of the system in a guest, "" if its agent does not say. Raises libvirtError if it is silent."""
    try:
        found = domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_OS)
    except libvirt.libvirtError as error:
        if "unable to execute QEMU agent command" in str(error):
            return ""  # it is the agent itself that says no
        raise
    return _bounded(found.get("os.pretty-name") or found.get("os.name") or "")


def _open_to_read(uri: str) -> "libvirt.virConnect":
    """Return a connection that can read only; of a driver without such, one that could do more."""
    with suppress(libvirt.libvirtError):
        return libvirt.openReadOnly(_name(uri))
    return _open(uri)


def _open(uri: str) -> "libvirt.virConnect":
    return libvirt.open(_name(uri))


def _name(uri: str) -> str | None:
    """Return what libvirt has to be given for a URI; "default" is what it is for virsh."""
    name = os.environ.get("VIRSH_DEFAULT_CONNECT_URI") if uri == "default" else uri
    return name or None


def _listed(connection: "libvirt.virConnect", kind: str) -> Kind:
    """Return the guests of a kind, so that not each has to be asked."""
    with suppress(libvirt.libvirtError):
        domains = connection.listAllDomains(getattr(libvirt, f"VIR_CONNECT_LIST_DOMAINS_{kind}"))
        return {domain.UUID() for domain in domains}
    return None


def _is(domain: "libvirt.virDomain", kind: Kind, ask: Callable[[], int], usual: bool) -> bool:
    if kind is not None:
        return domain.UUID() in kind
    with suppress(libvirt.libvirtError):
        return bool(ask())
    return usual


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST else ""


def _pid(name: str, uuid: str) -> int:
    """Return the process id of a guest of the system's QEMU driver, 0 if it cannot be told."""
    with suppress(OSError, ValueError):
        pid = int(Path(f"/run/libvirt/qemu/{name}.pid").read_text())
        if uuid.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():  # a pid is used again
            return pid
    return 0


def _is_gone(xml: str) -> bool:
    found = _EMULATOR.search(xml)
    return found is not None and not Path(html.unescape(found[1])).exists()


def _thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def main() -> None:
    """Ask, until all have answered or it is time to end."""
    libvirt.registerErrorHandler(lambda *_: None, None)  # it would write to stderr
    until, names = float(sys.argv[1]), json.loads(sys.argv[2])
    everyone = [Daemon(uri, names) for uri in sys.argv[3:]]
    for daemon in everyone:
        _thread(daemon.ask)
    waiting = everyone
    while waiting and time.monotonic() < until:
        waiting = [daemon for daemon in waiting if not daemon.done]
        time.sleep(_LOOK_EVERY if waiting else 0)
    closed = min(until, time.monotonic() + _CLOSE_WITHIN)
    for daemon in everyone:
        daemon.close(max(closed - time.monotonic(), 0.0))
    os._exit(0)  # threads may wait for ever for a libvirt that hangs


if __name__ == "__main__":
    main()
