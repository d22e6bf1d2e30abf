"""Runs the probe with a libvirt of 100 guests that is not there: 90 have agents, and not all of these answer.

Like the real one it takes five calls of one connection at a time. Its guests are named after what their agents do.
"""

# ruff: noqa: N802  # libvirt's own names

import json
import runpy
import sys
import threading
import time
import types
from pathlib import Path

PROBE = Path(__file__).resolve().parents[2] / "installer/lvg/guests/probe.py"

CHANNEL = "<channel><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>"
NAMES = [f"{word}{number}" for word, count in (("ok", 86), ("deaf", 2), ("no", 1), ("off", 1), ("plain", 10))
         for number in range(count)]  # fmt: skip
OS = 2
ONLY_TO_READ, NOT_AT_ALL = "fake:///only-to-read", "fake:///not-at-all"


class Error(Exception):
    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code

    def get_error_code(self) -> int:
        return self.code

    def get_error_message(self) -> str:
        return str(self)


class Connection:
    def __init__(self, uri: str, writes: bool) -> None:
        self.uri, self.writes, self.calls = uri, writes, threading.Semaphore(5)

    def getURI(self) -> str:
        return self.uri

    def close(self) -> None:
        """The real one keeps a connection for as long as there is a guest of it."""

    def getLibVersion(self) -> int:
        return 9_000_000

    def listAllDomains(self, flags: int) -> list["Domain"]:
        if flags == 32:
            raise Error("this driver has no managed save")
        return [] if flags == 2 else [Domain(name, self) for name in NAMES]

    def lookupByUUIDString(self, uuid: str) -> "Domain":
        return Domain(uuid.removeprefix("uuid-"), self)


class Domain:
    def __init__(self, name: str, connection: Connection) -> None:
        self._name, self.connection = name, connection

    def name(self) -> str:
        return self._name

    def UUID(self) -> bytes:
        return self._name.encode()

    def UUIDString(self) -> str:
        return f"uuid-{self._name}"

    def XMLDesc(self, flags: int) -> str:
        return f"<domain><devices>{'' if self._name.startswith('plain') else CHANNEL}</devices></domain>"

    def isPersistent(self) -> int:
        return 1

    def autostart(self) -> int:
        return 0

    def hasManagedSaveImage(self) -> int:
        raise Error("this driver has no managed save")

    def jobStats(self) -> dict[str, int]:
        if self._name == "plain1":
            raise Error("it has just ended")
        if self._name == "plain2":
            raise Error("migration statistics are available only on the source host", 55)
        return {"type": 2, "operation": 9} if self._name == "plain0" else {"type": 0}

    def guestInfo(self, types: int) -> dict[str, str]:
        json.loads(command(self, '{"execute": "guest-get-osinfo"}', 0, 0))
        return {"os.name": "Debian", "os.pretty-name": "Debian 12"} if types == OS else {}


def command(domain: Domain, text: str, timeout: int, flags: int) -> str:
    if not domain.connection.writes:
        raise Error("operation forbidden: read only access")
    with domain.connection.calls:
        return answer(domain.name(), json.loads(text)["execute"])


def answer(name: str, execute: str) -> str:
    if name.startswith("deaf"):
        time.sleep(600)
    if name.startswith("off"):
        raise Error("Guest agent is not responding", 86)
    if name.startswith("no") and execute == "guest-get-osinfo":
        raise Error("internal error: unable to execute QEMU agent command 'x': it has been disabled")
    time.sleep(0.002)
    return json.dumps({"return": {"supported_commands": [{"name": "guest-exec", "enabled": False}]}})


def connect(uri: str, writes: bool) -> Connection:
    if uri == NOT_AT_ALL or (writes and uri == ONLY_TO_READ):
        raise Error("access denied")
    return Connection(uri, writes)


def install() -> None:
    fake, agents = types.ModuleType("libvirt"), types.ModuleType("libvirt_qemu")
    kinds = {"ACTIVE": 1, "INACTIVE": 2, "RUNNING": 4, "PERSISTENT": 8, "AUTOSTART": 16, "MANAGEDSAVE": 32}
    vars(fake).update({f"VIR_CONNECT_LIST_DOMAINS_{kind}": flag for kind, flag in kinds.items()})
    vars(fake).update(libvirtError=Error, VIR_DOMAIN_RUNNING=1, VIR_DOMAIN_SHUTOFF=5, VIR_DOMAIN_JOB_NONE=0)
    vars(fake).update(VIR_ERR_OPERATION_INVALID=55, VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN=5)
    vars(fake).update(VIR_ERR_AGENT_UNRESPONSIVE=86, VIR_DOMAIN_GUEST_INFO_OS=OS, registerErrorHandler=lambda *_: None)
    vars(fake).update(open=lambda uri: connect(uri, True), openReadOnly=lambda uri: connect(uri, False))
    vars(agents).update(qemuAgentCommand=command)
    sys.modules.update(libvirt=fake, libvirt_qemu=agents)


if __name__ == "__main__":
    install()
    runpy.run_path(str(PROBE), run_name="__main__")
