"""What every test run with real hosts begins and ends with."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import roots


@contextmanager
def prepared() -> Iterator[None]:
    """End early and in one line when something is missing; turn SIGTERM into a clean end."""
    if why := roots.missing():
        pytest.exit(why, returncode=1)
    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, old)
