"""A cage for one short-lived sh: nothing to create, write, run or signal, and little of everything else.

Landlock takes away the file system (kernel 5.13 and later), seccomp takes away kill(2), limits bound the rest.
Numbers: landlock(7), include/uapi/linux/{landlock,prctl,seccomp,filter}.h, and each machine's syscall table.
"""

import ctypes
import os
import re
import resource
import struct
from pathlib import Path
from types import TracebackType

SHELL = "/bin/sh"
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every machine
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
# access rights that each version of Landlock added: (version, how many bits of the mask it knows)
_RIGHTS = ((1, 13), (2, 14), (3, 15), (5, 16))
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_KILL_SYSCALLS = {  # kill, tkill, tgkill
    "x86_64": (62, 200, 234),
    "aarch64": (129, 130, 131),
    "riscv64": (129, 130, 131),
    "ppc64le": (37, 208, 250),
    "s390x": (37, 237, 241),
}
_MEGABYTE = 1 << 20


class Sandbox:
    """Prepared in the parent, entered by the child between fork and exec.

    `complete` is False if the kernel has no Landlock: a file could then create empty files in /tmp.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._ruleset = self._create_ruleset()
        self.complete = self._ruleset >= 0
        self._tasks = _tasks()
        self._filter = _no_kill_filter()
        if self.complete:
            self._allow("/dev/null", _WRITE_FILE | _READ_FILE)
            for program in (SHELL, _interpreter(SHELL)):
                self._allow(program, _EXECUTE | _READ_FILE)
            self._allow("/", _READ_FILE | _READ_DIR)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.complete:
            os.close(self._ruleset)

    def _create_ruleset(self) -> int:
        version = self._libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
        bits = [count for since, count in _RIGHTS if version >= since]
        if not bits:
            return -1
        # version 4 added TCP bind and connect: a bash that stands in for sh has /dev/tcp
        attributes = struct.pack("Q", (1 << bits[-1]) - 1) + (struct.pack("Q", 3) if version >= 4 else b"")
        return int(self._libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))

    def _allow(self, path: str, rights: int) -> None:
        if not path:
            return
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            self._libc.syscall(_ADD_RULE, self._ruleset, 1, struct.pack("=Qi", rights, handle), 0)
        finally:
            os.close(handle)

    def enter(self) -> None:
        """Give up everything, for good. Runs in the child; raises OSError if the kernel refuses."""
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_FSIZE, 0)
        _limit(resource.RLIMIT_CPU, 2)
        _limit(resource.RLIMIT_AS, 512 * _MEGABYTE)
        _limit(resource.RLIMIT_NPROC, self._tasks + 24)
        self._prctl(_SET_NO_NEW_PRIVS, 1)
        if self.complete and self._libc.syscall(_RESTRICT_SELF, self._ruleset, 0) != 0:
            raise OSError(ctypes.get_errno(), "landlock_restrict_self")
        if self._filter:
            code = ctypes.create_string_buffer(self._filter, len(self._filter))
            program = struct.pack("HP", len(self._filter) // 8, ctypes.addressof(code))
            self._prctl(_SET_SECCOMP, _FILTER, program)

    def _prctl(self, option: int, *values: int | bytes) -> None:
        padded = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in (*values, 0, 0, 0)[:4]]
        if self._libc.prctl(option, *padded) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option}")


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _tasks() -> int:
    """Return the number of tasks on this host: RLIMIT_NPROC counts all of a user's, not just sh's children."""
    running = re.search(r"/(\d+) ", Path("/proc/loadavg").read_text("ascii"))
    return int(running.group(1)) if running else 4096


def _interpreter(program: str) -> str:
    """Return the dynamic loader that an ELF program names, or ""."""
    with Path(program).open("rb") as file:
        found = re.search(rb"(/[\w./-]*\bld[\w.-]*\.so[\w.]*)\0", file.read(8192))
    return found.group(1).decode() if found else ""


def _no_kill_filter() -> bytes:
    """Return a seccomp program that answers the kill family with EPERM, or b"" on a machine it does not know."""
    numbers = _KILL_SYSCALLS.get(os.uname().machine, ())
    if not numbers:
        return b""
    code = [struct.pack("HBBI", 0x20, 0, 0, 0)]  # load the number of the system call
    for left, number in zip(range(len(numbers), 0, -1), numbers, strict=True):
        code.append(struct.pack("HBBI", 0x15, left, 0, number))  # equal: jump to EPERM
    code.append(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))  # allow
    code.append(struct.pack("HBBI", 0x06, 0, 0, 0x00050001))  # fail with EPERM
    return b"".join(code)
