"""What libvirt tells by itself: the news of guests, and the loss of a connection."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

import libvirt

from . import wire
from .post import Post
from .session import Events, UnreachableError

_CONNECTED = libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
_SILENT = (5, 4)  # seconds between two signs of life, and how many may be missing


def listen(
    connection: "libvirt.virConnect", uri: str, events: Events, loop: asyncio.AbstractEventLoop
) -> Callable[[], None]:
    """Listen to a new connection. Returns what tells of its loss, once, whoever notices. Raises UnreachableError."""
    told, tell = threading.Lock(), Post(loop).send

    def lifecycle(_: object, domain: "libvirt.virDomain", event: int, detail: int, _opaque: object) -> None:
        if what := wire.meaning(event, detail):
            tell(events.guest, uri, domain.UUIDString(), domain.name(), what)

    def agent_is_up(_: object, domain: "libvirt.virDomain", state: int, _reason: int, _opaque: object) -> None:
        if state == _CONNECTED:
            tell(events.guest, uri, domain.UUIDString(), domain.name(), "agent")

    def lost(*_: object) -> None:
        if told.acquire(blocking=False):
            tell(events.closed, uri)

    try:
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, None)
    except libvirt.libvirtError as error:
        raise UnreachableError(wire.reason(error)) from None
    with suppress(libvirt.libvirtError):  # niceties that not every driver has
        connection.registerCloseCallback(lost, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, agent_is_up, None)
        connection.setKeepAlive(*_SILENT)
    return lost
