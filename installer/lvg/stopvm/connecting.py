"""Connections to libvirt, and the event loop that brings its news.

It is libvirt's own loop, in a thread: it can be started once in a process and serves any number of asyncio loops,
which libvirtaio cannot.
"""

import os
import threading
from contextlib import suppress
from functools import cache
from urllib.parse import urlsplit

import libvirt

from . import wire
from .session import UnreachableError


def connect(uri: str) -> "libvirt.virConnect":
    """Open a connection; "default" is what it is for virsh. Raises UnreachableError."""
    _be_silent()
    name = os.environ.get("VIRSH_DEFAULT_CONNECT_URI") if uri == "default" else uri
    try:
        return libvirt.open(name or None)
    except libvirt.libvirtError as error:
        raise UnreachableError(wire.reason(error)) from None
    except ValueError as error:  # what no C string can hold
        raise UnreachableError(str(error)) from None


def connect_twice(uri: str) -> tuple["libvirt.virConnect", "libvirt.virConnect"]:
    """Open a connection for requests and one for news; of what is far away, or in this process, there is only one.

    libvirt wakes its event loop twice for each request on a connection that the loop knows; the first one is made
    before there is a loop. Raises UnreachableError.
    """
    near = uri == "default" or not urlsplit(uri).netloc
    if not near:
        _start_events()
    requests = connect(uri)
    _start_events()
    return requests, connect(uri) if near and not _in_this_process(requests) else requests


def _in_this_process(connection: "libvirt.virConnect") -> bool:
    """True if the driver lives here, so that another connection may be one to other guests."""
    try:
        return str(connection.getURI()).startswith("test:")
    except libvirt.libvirtError as error:
        raise UnreachableError(wire.reason(error)) from None


@cache
def _be_silent() -> None:
    """Keep libvirt from writing to stderr; what it says is in its errors."""
    libvirt.registerErrorHandler(lambda *_: None, None)


@cache
def _start_events() -> None:
    """Start libvirt's event loop, once."""
    libvirt.virEventRegisterDefaultImpl()
    libvirt.virEventAddTimeout(60_000, lambda *_: None, None)  # a loop with nothing to wait for would return at once
    threading.Thread(target=_run_events, daemon=True).start()


def _run_events() -> None:
    while True:
        with suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()
