"""Commands under strace: what they change, call by call, and the same command struck at one of these calls."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scratch import CHECKOUT

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
CAUGHT = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
_CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)")


@dataclass(frozen=True)
class Point:
    """A state-changing call: the `nth` of its name, on this path (inside the root, or two with a space)."""

    call: str
    nth: int
    paths: str

    @property
    def marks(self) -> bool:
        """True if it marks how far a run got."""
        return self.call.startswith("rename") and self.paths.endswith("/manifest.json")

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
    _compile()
    trace = ["-e", f"trace={','.join(f'?{name}' for name in CHANGING)}"]
    done = run([*strace(log, quick=True), *trace, *program(words)])
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
    seen, found = Counter[str](), list[Point]()
    for match in _calls(log):
        seen[match[1]] += 1
        if str(root) in match[2] and _changes(match[1], match[2]):
            found.append(Point(match[1], seen[match[1]], _paths(match[2], root)))
    return found


@cache
def _compile() -> None:
    """Compile lvg beforehand: if another process did so between two runs, the second would open fewer files."""
    run(["/usr/bin/python3", "-m", "compileall", "-q", str(CHECKOUT / "installer")])


def strike(words: list[str], root: Path, point: Point, what: str, log: Path) -> Struck:
    """Run a command with `what` injected at one call: "signal=SIGKILL", "error=EIO", "delay_enter=1000000"."""
    done = run(
        [*strace(log, quick=point.call != "write" and "signal" not in what), *injection(point, what), *program(words)]
    )
    calls = [match for match in _calls(log) if match[1] == point.call]
    hit = len(calls) >= point.nth and _paths(calls[point.nth - 1][2], root) == point.paths
    return Struck(done.returncode, done.stdout, done.stderr, hit)


def injection(point: Point, what: str) -> list[str]:
    """Return the words that make strace strike at this call."""
    return ["-e", f"trace={point.call}", "-e", f"inject={point.call}:{what}:when={point.nth}"]


def strace(log: Path, *, quick: bool) -> list[str]:
    """Return the words that begin a command line. `quick` stops the run at the calls in question only: half the time.

    It cannot be had for signals, which go lost then, and it follows children too, each with its own count for `when`:
    of what is struck here, a child (sh, which reads the config) does nothing so often but write.
    """
    words = ["-f", "--seccomp-bpf"] if quick else []
    return ["strace", *words, "-y", "-s", "0", "-e", "signal=none", "-o", str(log)]


def _calls(log: Path) -> Iterator[re.Match[str]]:
    """Yield each call of the command itself, not of its children: name and arguments."""
    lines = log.read_text(errors="replace").splitlines()
    ours = re.match(r"\d* *", lines[-1])[0] if lines else ""  # it ends last; without -f there are no process ids
    for line in lines:
        match = _CALL.match(line)
        if match and line.startswith(ours):
            yield match


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command with the environment that every run here has."""
    quiet = {"stdin": subprocess.DEVNULL, **CAUGHT}
    return subprocess.run(command, env=ENVIRONMENT, timeout=120, check=False, umask=0o022, **quiet)


def _changes(call: str, arguments: str) -> bool:
    if call in ("open", "openat"):
        return any(flag in arguments for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"))
    return True


def _paths(arguments: str, root: Path) -> str:
    asked = arguments.rsplit(" = ", 1)[0]  # a call that was cut off has no result
    return " ".join(re.findall(rf'{re.escape(str(root))}([^">]*)', asked))
