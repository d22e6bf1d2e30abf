"""A stop that takes the place of this one, in the same process, with the time that is left.

For a daemon that fell silent and has to be killed: calls that still wait for it then make libvirt's library write
where it must not, and the process ends (libvirt 9.0, "stack smashing detected").
"""

import os
import sys
from collections.abc import Mapping

_BEGAN = "STOPVM_BEGAN"  # when the first of these stops began, by the monotonic clock, which goes on


def begin(now: float, budget: float) -> float:
    """Return when this stop began: now, or with the stop whose place it took; never longer ago than `budget`."""
    try:
        began = float(os.environ.pop(_BEGAN, ""))
    except ValueError:
        return now
    return began if now - budget <= began <= now else now


def take_place(began: float, environment: Mapping[str, str]) -> None:
    """Begin the program anew; does not return. Raises OSError."""
    added = {**environment, _BEGAN: repr(began)}
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **added})  # noqa: S606
