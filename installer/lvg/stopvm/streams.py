"""The standard streams, made safe: both programs begin with it."""

import io
import os
import sys
from typing import TextIO


def prepare() -> None:
    """Make the standard streams safe: a closed one leads nowhere, and no locale can break a line.

    A file opened later must never get the number of a closed standard stream: what is said would land in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = sys.stdout or nowhere(), sys.stderr or nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def nowhere() -> TextIO:
    """Return what stands in for a standard stream that is closed."""
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
