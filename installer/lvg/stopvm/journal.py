"""What the journal knows of an earlier boot of this host. Where it knows nothing, nobody is said to have lost power."""

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from .programs import trusted

_WITHIN = 30.0  # seconds
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
# systemd stops them in this order: what the host is up for, our unit, and what waits for libvirt-guests to be through.
_UP, _UNIT, _THROUGH = "multi-user.target", "graceful-shutdown.service", "virt-guest-shutdown.target"
# Ids of systemd's messages about units (sd-messages.h); their texts are in the language of the host.
_STARTED, _STOPPING = "39f53479d3a045ac8e11786248231fbf", "de5b426a63be47a7b6ac3eaac82e2f6f"
_STOPPED = "9d1aaa27d60140bd96365438aad20286"


@dataclass(frozen=True)
class Shutdown:
    """A host's shutdown that went through: in which boot, and when our unit began to stop, as in a guest's log."""

    boot_id: str
    began: str


def last_boot_began() -> str:
    """Return the time of the journal's first entry of the boot before this one, as in a guest's log; "" = unknown."""
    words = "journalctl --boot=-1 --output=short-unix --quiet --no-pager | head -n 1"
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_ENVIRONMENT,
            timeout=_WITHIN,
            check=False,
        )
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(float(done.stdout.split()[0])))
    except (OSError, subprocess.SubprocessError, OverflowError, ValueError, IndexError):
        return ""


def shutdown_of(boot_id: str) -> Shutdown | None:
    """Return how a boot ended ("" = the one before this), None if the power was cut, or the journal does not know."""
    boot = f"--boot={boot_id.replace('-', '') or -1}"
    units = [f"UNIT={unit}" for unit in (_UP, _UNIT, _THROUGH)]
    try:
        done = subprocess.run(
            [trusted("journalctl"), boot, "--output=json", "--quiet", "--no-pager", "_PID=1", *units],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_ENVIRONMENT,
            timeout=_WITHIN,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return _shutdown_in(done.stdout)


def _shutdown_in(output: bytes) -> Shutdown | None:
    """Return the last shutdown of these entries that came so far that libvirt-guests was through.

    A stop of our unit by hand is none: the host stays up.
    """
    going_down, found, through = False, None, False
    for entry in _entries(output):
        try:
            what = entry.get("UNIT"), entry.get("MESSAGE_ID")
            if what in ((_UP, _STOPPED), (_UP, _STARTED), (_UNIT, _STARTED)):
                going_down, found, through = what == (_UP, _STOPPED), None, False
            elif what == (_UNIT, _STOPPING) and going_down:
                found = Shutdown(str(uuid.UUID(entry["_BOOT_ID"])), _log_time(entry["__REALTIME_TIMESTAMP"]))
            elif what == (_THROUGH, _STOPPED):
                through = found is not None
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError):
            continue
    return found if through else None


def _entries(output: bytes) -> Iterator[dict[str, str]]:
    for line in output.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def _log_time(microseconds: str) -> str:
    """Return a time of the journal as it stands in a guest's log; a stop by hand may have ended a moment before it."""
    seconds, parts = divmod(int(microseconds), 1_000_000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(seconds))}.{parts:06}"
