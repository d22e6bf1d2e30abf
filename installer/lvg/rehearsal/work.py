"""The work of a rehearsal, in a process of its own: whatever becomes of the terminal, the guests are started again."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STARTING = "rehearsal: starting again what was stopped"
_LOOK_EVERY = 2.0  # seconds
_LEFT_PATIENCE = 30.0  # seconds in which a guest that stopvm has given up may still end
_NO_VERDICT = 4  # exit codes of stopvm from this one on, and those below 0, say that it did not come to an end


@dataclass(frozen=True)
class Work:
    """What is done, one thing after the other: stop these guests, wait for latecomers, start them again.

    `running` returns the names of the guests that run, None if libvirt does not answer; `host_goes_down` says if the
    host is being switched off. A stop by `program` that breaks off is waited for `patience` seconds.
    """

    program: str
    names: Sequence[str]
    running: Callable[[], frozenset[str] | None]
    host_goes_down: Callable[[], bool]
    patience: float

    def run(self) -> None:
        """Do it. What happens is said on standard error, line by line."""
        code = self._stopvm("stop")
        if code not in (0, 1):
            self._wait_for_latecomers(self.patience if code < 0 or code >= _NO_VERDICT else _LEFT_PATIENCE)
        if self.host_goes_down():
            _say("rehearsal: the host goes down, so nothing is started now; it comes back at the next boot")
            return
        _say(STARTING)
        self._stopvm("restore")

    def _stopvm(self, verb: str) -> int:
        """Run stopvm for exactly these guests; names are no patterns."""
        only = [f"--only={glob.escape(name)}" for name in self.names]
        try:
            return subprocess.run(
                [self.program, verb, "--now", *only], stdin=subprocess.DEVNULL, check=False
            ).returncode
        except OSError as error:
            _say(f"rehearsal: {self.program} cannot be run: {error.strerror}")
            return -1

    def _wait_for_latecomers(self, seconds: float) -> None:
        """Wait until those that were asked in vain have ended after all: started now, they would go down later."""
        end, said = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            running = self.running()
            late = ", ".join(name for name in self.names if running is None or name in running)
            if not late:
                return
            if late != said:
                _say(f"rehearsal: waiting up to {end - time.monotonic():.0f} s for {late}, which may still go down")
            said = late
            time.sleep(max(min(_LOOK_EVERY, end - time.monotonic()), 0))


def _say(text: str) -> None:
    try:
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))
    except OSError:
        return  # nobody listens any more; the guests come first


@dataclass(frozen=True)
class Worker:
    """The process at work. Reading from `output` gives what it and stopvm say, and ends when it is done."""

    pid: int
    output: int

    def is_done(self) -> bool:
        """True if it has ended."""
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0


def begin(work: Work) -> Worker:
    """Start the work in a process and a session of its own, which no Ctrl-C and no lost terminal reaches."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Worker(pid, reading)
    try:
        _leave_terminal(writing)
        work.run()
    except BaseException as error:  # it must not run on as a second lvg, whatever happens
        _say(f"rehearsal: failed: {error!r}")
    finally:
        os._exit(0)


def _leave_terminal(output: int) -> None:
    os.setsid()
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    os.environ.pop("NOTIFY_SOCKET", None)  # stopvm's state is none of the unit's that perhaps runs us
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
