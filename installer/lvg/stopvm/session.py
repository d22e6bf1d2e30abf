"""What stop and restore need of a connection to libvirt; tests have one without libvirt behind it."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from .decide import Facts
from .policy import Command


class LibvirtError(Exception):
    """A request failed; the text is libvirt's reason."""


class UnreachableError(LibvirtError):
    """There is no connection to libvirt."""


class NoAnswerError(UnreachableError):
    """libvirt takes a connection, and then does not answer in time."""


class NoAgentError(LibvirtError):
    """The guest has no channel for a guest agent, so none will ever answer."""


class Events(NamedTuple):
    """Whom to tell. Both are called in the asyncio loop's thread.

    `guest(uri, uuid, name, what)`: what is "started", "agent" (its guest agent came up), "finished" (it shut itself
    down, its process still has to end), "killed" (its process got a signal), "crashed" (its kernel panicked; libvirt
    may end or restart it), "resumed", "gone" (its process ended, nobody says how) or "stopped:HOW", where HOW is
    clean, saved, destroyed, lost or moved. `closed(uri)`: the connection is gone.
    """

    guest: Callable[[str, str, str, str], None]
    closed: Callable[[str], None]


class Session(Protocol):
    """One connection. Every call has a deadline of its own and raises LibvirtError or CallTimeoutError."""

    uri: str
    real: str  # what the URI stands for; two that are the same reach the same guests

    async def open(self, events: Events) -> None:
        """Connect (again) and listen. Raises UnreachableError."""

    async def running(self) -> list[Facts]:
        """Return all active guests."""

    async def names(self) -> list[str]:
        """Return the names of all guests, also of those that are off."""

    async def how_ended(self, guest: Facts) -> str:
        """Return how a guest that is no longer active ended, as in "stopped:HOW"; "" if libvirt does not know."""

    async def ask(self, guest: Facts, way: str) -> None:
        """Ask a guest to shut down by "agent" (pinged first) or "acpi"."""

    async def resume(self, guest: Facts) -> None:
        """Let a paused guest run."""

    async def end_at_poweroff(self, guest: Facts) -> None:
        """Let this run of the guest end when it shuts itself down, whatever its definition says of on_poweroff."""

    async def job(self, guest: Facts) -> str:
        """Return which job holds the guest: "save", "migration", "snapshot", "dump", "backup" or another; "" = none."""

    async def abort_job(self, guest: Facts) -> None:
        """Abort that job."""

    async def cancel_jobs(self, guest: Facts) -> str:
        """Cancel the backup and the block jobs that keep a guest from being saved; return them in words."""

    async def wake(self, guest: Facts) -> None:
        """Wake a guest that suspended itself."""

    async def save(self, guest: Facts, bypass_cache: bool, seconds: float) -> None:
        """Save a guest's memory to disk and end it; a save that takes longer than `seconds` is aborted."""

    async def destroy(self, guest: Facts, graceful: bool) -> None:
        """End a guest: by SIGTERM alone if `graceful`, else whatever it takes."""

    async def start(self, guest: Facts, paused: bool, bypass_cache: bool) -> str:
        """Start a guest, from its saved memory if there is any. Returns "running" (it was), "resumed" or "started"."""

    async def ping(self, guest: Facts) -> None:
        """Return if the guest's agent answers within seconds. Raises NoAgentError if it has none."""

    async def execute(self, guest: Facts, command: Command, seconds: float) -> tuple[int, str]:
        """Run a command in the guest by its agent; return its exit code and output."""

    async def sync_time(self, guest: Facts) -> None:
        """Set a resumed guest's clock by its agent."""
