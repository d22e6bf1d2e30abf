"""QEMU processes that nobody stops: read from /proc, and judged."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from lvg.doctor import releases, scopes
from lvg.doctor.types import Check, Finding, HostFacts, Qemu
from lvg.guests import running

# libvirt gives each QEMU the file of a key, in the folder that it made for the guest (qemu_command.c).
_KEY = re.compile(r'file"?[=:]"?(/[^",]*)/domain-[^/"]*/master-key\.aes')
_SYSTEM = "/var/lib/libvirt/qemu"
_NAME = re.compile(r"(?:guest=)?([^,]*)")
_SIZES = re.compile(r"^(?:VmRSS|VmSwap|HugetlbPages):\s+(\d+) kB", re.MULTILINE)
_CONTAINER = ("docker-", "libpod-", "crio-", "cri-")
_SESSION_STOPS = 11_002_000  # from here on a user's daemon stops its guests itself when the user's session ends (NEWS)


def read(pids: Iterable[int], proc: Path = Path("/proc")) -> tuple[Qemu, ...]:
    """Return the QEMU processes among these that run a machine. One that has ended meanwhile is left out."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            words = (proc / str(pid) / "cmdline").read_text("utf-8", "surrogateescape").split("\0")
            status = (proc / str(pid) / "status").read_text("utf-8", "replace")
            if process := described(pid, words, status):
                found.append(process)
    return tuple(found)


def described(pid: int, words: Sequence[str], status: str) -> Qemu | None:
    """Return a process by its arguments; None for one that runs no machine, as libvirt's questions to QEMU do."""
    machine = _after("-machine", words) or _after("-M", words)
    name = _NAME.match(_after("-name", words))
    guest = name[1] if name else ""
    if machine.partition(",")[0] == "none" or guest.startswith("guestfs-"):
        return None
    key = next(filter(None, map(_KEY.search, words)), None)
    driver: Literal["system", "session", ""] = "" if not key else "system" if key[1] == _SYSTEM else "session"
    user = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
    resident = sum(map(int, _SIZES.findall(status))) / 1024
    return Qemu(pid, guest, driver, int(user[1]) if user else 0, resident)


def _after(option: str, words: Sequence[str]) -> str:
    return next((value for word, value in pairwise(words) if word == option), "")


def _no_session_guests(facts: HostFacts) -> Iterator[Finding]:
    version = releases.version_of(facts)
    found = [each for each in _unasked(facts) if each.driver == "session"]
    if found and version < _SESSION_STOPS:
        users = ", ".join(sorted({str(each.user) for each in found}))
        what = f"guests of a user's own libvirt are not stopped when the host goes down: {_names(found)}"
        remedy = "virsh -c qemu:///session list  # as that user; define them for qemu:///system instead"
        yield Finding("C12", "warning", what, remedy, f"user id {users}; pid {found[0].pid}")


def _no_foreign_qemu(facts: HostFacts) -> Iterator[Finding]:
    unasked = [each for each in _unasked(facts) if not each.driver]
    found = [each for each in unasked if not facts.scopes.get(each.pid, "").startswith(_CONTAINER)]
    if found:
        what = f"QEMU that libvirt did not start is not stopped when the host goes down: {_names(found)}"
        remedy = f"ps -o unit,args -p {','.join(str(each.pid) for each in found)}  # whose unit has to stop it"
        yield Finding("C13", "warning", what, remedy, f"pid {found[0].pid}")


def _unasked(facts: HostFacts) -> list[Qemu]:
    """Return the processes that no libvirt of the policy has named."""
    known = {guest.pid for guest in running(facts.answers)}
    return [each for each in facts.qemus if each.pid not in known]


def _names(found: Sequence[Qemu]) -> str:
    return scopes.listed([each.guest or f"process {each.pid}" for each in found])


CHECKS = (
    Check("C12", "no guest of a user's own libvirt runs unprotected", _no_session_guests),
    Check("C13", "libvirt knows every QEMU of this host", _no_foreign_qemu),
)
