"""Ask sh what a file sets, without letting the file do anything.

The file is text that root's services source, so it may hold any command. Here sh reads it as nobody, from memory,
with no environment, no command on PATH, nothing to write to (Landlock), nothing to run, no signal to send
(seccomp), and little time, memory and output. Sources: landlock(7), seccomp(2), POSIX "dot".
"""

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from lvg.envfile import sandbox, shtext
from lvg.errors import LvgError
from lvg.settings import SETTINGS

MAX_BYTES = 64 * 1024  # the longest shipped file has 4 KB
_SECONDS = 8.0  # it takes milliseconds, but an update may keep the host busy
_NOBODY = 65534
_PATIENCE = 1.5  # seconds; so long a user at the limit of its processes is no reason to give up
_PAUSE = 0.1  # seconds
_NO_FORK = re.compile(rb"(cannot|can't) fork|fork: ", re.IGNORECASE)  # dash; busybox, mksh; bash
_SYNTAX = re.compile(rb"syntax error|unexpected EOF", re.IGNORECASE)
_FIX = "Mend that line by hand (sh -n FILE shows syntax errors), then run again."


def sh_values(data: bytes, keys: Iterable[str]) -> dict[str, str | None]:
    """Return what sh has in each key after sourcing `data`; None for a key the file does not set.

    libvirt-guests gives every key its built-in default before it sources the file, and so does this.
    A value is text with surrogate escapes for bytes that are not UTF-8. Commands are not run: `$(nproc)` is "".
    Raises LvgError with line and reason if sh cannot read the file to its end.
    """
    names = list(dict.fromkeys(keys))
    if len(data) > MAX_BYTES:
        raise LvgError(f"the file has {len(data)} bytes, more than {MAX_BYTES}", "Is it really a configuration file?")
    if any(not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in names):
        raise ValueError(names)
    token = os.urandom(16).hex()
    out, err = _run(data, names, token)
    parts = out.split(token.encode() + b"\0")
    if len(parts) != 5 or _SYNTAX.search(err):
        raise LvgError(_reason(data, err), _FIX)
    with_defaults, with_token = parts[1].split(b"\0")[:-1], parts[3].split(b"\0")[:-1]
    if not len(with_defaults) == len(with_token) == len(names):
        raise LvgError("the file prints something when sh reads it", _FIX)
    readings = zip(names, with_defaults, with_token, strict=True)
    return {name: _value(name, seen, marked, token) for name, seen, marked in readings}


def _value(name: str, seen: bytes, marked: bytes, token: str) -> str | None:
    """Compare two readings, one on top of the default and one on top of a mark: the file set it if either changed."""
    builtin = SETTINGS[name].builtin if name in SETTINGS else None
    text = seen[1:].decode("utf-8", "surrogateescape") if seen else None
    if marked == f"={token}.".encode() and text == builtin:
        return None
    return text or ""


def _run(data: bytes, names: list[str], token: str) -> tuple[bytes, bytes]:
    memory = os.memfd_create("libvirt-guests")
    try:
        os.write(memory, data)
        os.fchmod(memory, 0o444)
        return _patiently(memory, _program(memory, names, token))
    except (OSError, subprocess.SubprocessError) as error:
        raise LvgError(f"sh cannot be started in a sandbox: {error}", "Check /bin/sh and /proc.") from error
    finally:
        os.close(memory)


def _program(memory: int, names: list[str], token: str) -> str:
    """Return the text that sources the file twice, in braces so that sh has read all of it before."""
    source = f". /proc/self/fd/{memory}"
    fields = " ".join(f'"${{{name}+=}}${{{name}-}}"' for name in names)
    show = f"unset -f printf; printf '%s\\0' {token} {fields} {token}"
    defaults = "; ".join(f"{n}={SETTINGS[n].builtin}" if n in SETTINGS else f"unset {n}" for n in names)
    marks = "; ".join(f"{name}={token}." for name in names)
    return f"{{ ( {defaults or ':'}; {source}; {show}; ) ; ( {marks or ':'}; {source}; {show}; ) ; }}"


def _patiently(memory: int, program: str) -> tuple[bytes, bytes]:
    """Run sh, again if it is at its limit of processes: others may have so many as nobody for a moment."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            out, err = _spawn(memory, program)
        except BlockingIOError:  # that limit, met by execve(2)
            if time.monotonic() >= end:
                raise
        else:
            if not _NO_FORK.search(err) or time.monotonic() >= end:
                return out, err
        time.sleep(_PAUSE)


def _spawn(memory: int, program: str) -> tuple[bytes, bytes]:
    with sandbox.Sandbox() as box, contextlib.ExitStack() as stack:
        if not box.complete and not tame(os.pread(memory, MAX_BYTES, 0)):
            raise LvgError(*_too_wild(os.pread(memory, MAX_BYTES, 0)))
        out, out_end = _pipe(stack)
        err, err_end = _pipe(stack)
        user = _NOBODY if _may_become_nobody() else None
        process = subprocess.Popen(
            [sandbox.SHELL, "-c", program],
            stdin=subprocess.DEVNULL, stdout=out_end, stderr=err_end, pass_fds=(memory,), cwd="/",
            env={"PATH": "/nonexistent"}, start_new_session=True,
            preexec_fn=box.enter,  # noqa: PLW1509 - the few calls of it take no lock that a thread could hold
            user=user, group=user, extra_groups=None if user is None else [],
        )  # fmt: skip
        if not _finish(process):
            raise LvgError(f"sh needs more than {_SECONDS:.0f} s to read the file, or it prints without end", _FIX)
        return _drain(out), _drain(err)


def _may_become_nobody() -> bool:
    """True for root, unless this is a user namespace that knows no nobody: root is a mere user there."""
    lines = Path("/proc/self/uid_map").read_text("ascii").splitlines()
    ranges = [[int(number) for number in line.split()] for line in lines]
    return os.geteuid() == 0 and any(inside <= _NOBODY < inside + count for inside, _, count in ranges)


def tame(data: bytes) -> bool:
    """True if the file has nothing but comments and plain assignments that run no command."""
    script = shtext.parse(data)
    words = [word.raw for chunk in script.chunks for command in chunk.commands for word in command.words]
    single = all(chunk.single for chunk in script.chunks)
    return single and all(shtext.ASSIGNS.match(raw) and not re.search(r"`|\$\(", raw) for raw in words)


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    stack.callback(os.close, read_end)
    stack.callback(os.close, write_end)
    os.set_blocking(read_end, False)
    with contextlib.suppress(OSError):  # beyond the user's quota of pipe memory the default of 64 KB stays
        fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, 16 * MAX_BYTES)
    return read_end, write_end


def _finish(process: "subprocess.Popen[bytes]") -> bool:
    """Wait for sh, then end it and all its children; False if its time ran out.

    A full pipe stops sh until then, so its output is bounded too.
    """
    handle = os.pidfd_open(process.pid)
    try:
        return bool(select.select([handle], [], [], _SECONDS)[0])
    finally:
        # the leader is not reaped yet, so the number of its group cannot be another's
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        os.close(handle)
        process.wait()


def _drain(read_end: int) -> bytes:
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := os.read(read_end, 65536):
            parts.append(part)
    return b"".join(parts)


def _reason(data: bytes, err: bytes) -> str:
    """Say in one line, with the number of the file's line, why sh does not get to the end of the file."""
    script = shtext.parse(data)
    if script.unclosed:
        return f"line {script.unclosed}: sh cannot read the file: what begins here (quote, bracket or block) never ends"
    for text in err.decode("utf-8", "replace").splitlines():
        found = re.search(r"(?:^|[ :])(?:line )?(\d+): (?:/proc/self/fd/\d+: )?(.*)", text)
        if found and "not found" not in text:
            return f"line {found.group(1)}: sh cannot read the file: {_printable(found.group(2))}"
    for chunk in script.chunks:
        for command in chunk.commands:
            if command.words[0].raw in ("exit", "exec"):
                return f"line {chunk.line}: sh does not get past this command: {command.words[0].raw}"
    return "sh stops before the end of the file, without a word"


def _too_wild(data: bytes) -> tuple[str, str]:
    """Say why a file is not read where nothing can hold the commands in it, and what to do."""
    if shtext.parse(data).unclosed:
        return _reason(data, b""), _FIX
    what = "it runs commands, and there is no Landlock here to hold them (old kernel, or a container's filter)"
    return what, "Make it plain KEY=value lines, or run this outside the container."


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:200]
