"""Commands under strace: what they change, call by call, and the same command struck at one of these calls."""

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from trees import CHECKOUT

CHANGING = (
    *("write", "pwrite64", "writev", "pwritev", "ftruncate", "truncate", "fallocate", "copy_file_range", "sendfile"),
    *("fsync", "fdatasync", "sync_file_range", "syncfs", "rename", "renameat", "renameat2", "link", "linkat"),
    *("symlink", "symlinkat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utimensat"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "open", "openat", "creat"),
)
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_CALL = re.compile(r"(\w+)\((.*)")


@dataclass(frozen=True)
class Point:
    """A state-changing call: the `nth` of its name, on this path (inside the root, or two with a space)."""

    call: str
    nth: int
    paths: str

    def __str__(self) -> str:
        return f"{self.call} {self.paths}"


@dataclass(frozen=True)
class Struck:
    """How a struck run ended, and whether the stroke hit the call that was meant."""

    code: int
    out: str
    err: str
    hit: bool


def program(words: list[str]) -> list[str]:
    """Return the command line of a command of the checkout."""
    return ["/usr/bin/python3", str(CHECKOUT / "bin" / words[0]), *words[1:]]


def points(words: list[str], root: Path, log: Path) -> list[Point]:
    """Run a command undisturbed and return every call of its that changes something below `root`."""
    trace = ["-e", f"trace={','.join(f'?{name}' for name in CHANGING)}"]
    done = _run([*_strace(log), *trace, *program(words)])
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
    seen, found = Counter[str](), list[Point]()
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if not match:
            continue
        seen[match[1]] += 1
        if str(root) in match[2] and _changes(match[1], match[2]):
            found.append(Point(match[1], seen[match[1]], _paths(match[2], root)))
    return found


def strike(words: list[str], root: Path, point: Point, what: str, log: Path) -> Struck:
    """Run a command with `what` injected at one call: "signal=SIGKILL", "error=EIO", "delay_enter=1000000"."""
    done = _run([*_strace(log), *injection(point, what), *program(words)])
    lines = log.read_text(errors="replace").splitlines()
    calls = [line for line in lines if line.startswith(f"{point.call}(")]
    hit = len(calls) >= point.nth and _paths(calls[point.nth - 1], root) == point.paths
    return Struck(done.returncode, done.stdout, done.stderr, hit)


def injection(point: Point, what: str) -> list[str]:
    """Return the words that make strace strike at this call."""
    return ["-e", f"trace={point.call}", "-e", f"inject={point.call}:{what}:when={point.nth}"]


def _strace(log: Path) -> list[str]:
    return ["strace", "-y", "-s", "0", "-e", "signal=none", "-o", str(log)]


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    return subprocess.run(command, env=ENVIRONMENT, timeout=120, check=False, umask=0o022, **quiet)


def _changes(call: str, arguments: str) -> bool:
    if call in ("open", "openat"):
        return any(flag in arguments for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"))
    return True


def _paths(arguments: str, root: Path) -> str:
    found = re.findall(rf'{re.escape(str(root))}([^">]*)', arguments)
    return " ".join(found)
