"""Runs the probe, and ends it when its time is up: libvirt may hang, we do not."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lvg import bundle
from lvg.guests import parse
from lvg.guests.facts import Answer

_PROBE = Path(__file__).with_name("probe.py")
_MOST_BYTES = 64 << 20  # of all that the probe may say; 1,000 guests need a sixth of it
_KEPT = 0.1  # seconds that the probe ends before it is killed
_CHUNK = 1 << 16
_LATE = "late"


def look(uris: Sequence[str], seconds: float = 2.0, inside: Sequence[str] = ()) -> tuple[Answer, ...]:
    """Ask libvirt at each URI, "default" included, for its guests; what was not known in time is in the error.

    Takes `seconds` at most, whatever hangs. Nothing is asked that changes a guest. `inside` are patterns of the names
    of guests in which commands will run: of these alone it is known which commands their agents refuse.
    """
    wanted = tuple(dict.fromkeys(uris))
    begin = time.monotonic()
    lines, cut = list[bytes](), ""
    for interpreter in dict.fromkeys(filter(None, (sys.executable, bundle.INTERPRETER))):
        lines, cut = _asked(interpreter, [json.dumps(list(inside)), *wanted], begin + seconds)
        if cut == _LATE or (lines and not parse.is_missing(lines)):
            break
    why = f"libvirt did not answer within {seconds:g} s" if cut == _LATE else cut
    return parse.answers(wanted, lines, why, time.monotonic() - begin, os.geteuid() == 0)


def _asked(interpreter: str, words: Sequence[str], until: float) -> tuple[list[bytes], str]:
    """Return the lines of a probe, and why there are no more: "late", or what went wrong, "" for nothing."""
    command = [interpreter, "-I", str(_PROBE), str(until - _KEPT), *words]
    said = bytearray()
    try:
        with _started(command) as process:
            assert process.stdout  # noqa: S101  # it is a pipe
            cut = _read(process.stdout.fileno(), until, said)
    except (OSError, ValueError) as error:  # a ValueError: a URI that no program can be given
        return [], f"{interpreter} cannot be run: {getattr(error, 'strerror', error)}"
    return bytes(said).splitlines(), cut


def _read(pipe: int, until: float, said: bytearray) -> str:
    while (left := until - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            break
        data = os.read(pipe, _CHUNK)
        said += data
        if not data:
            return "" if until - time.monotonic() > _KEPT else _LATE  # it ends by itself when it is late
        if len(said) > _MOST_BYTES:
            return "libvirt said more than can be believed"
    return _LATE


@contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own, which ssh takes as nobody there to ask; all of it is ended afterwards."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
        cwd="/",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
        if process.stdout:
            process.stdout.close()
