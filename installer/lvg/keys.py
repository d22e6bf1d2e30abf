"""The table of libvirt-guests' keys, and the names that OpenRC's service has for them.

Meanings and built-in defaults: libvirt-guests(8) and its script; the OpenRC names: the init script and conf.d file
that Gentoo and Alpine ship.
"""

from typing import Literal, NamedTuple

_MAX_INT = 2_147_483_647  # sh and virsh both count in at least 32 bits


class Setting(NamedTuple):
    """One key: `builtin` is upstream's default as text, `openrc` the key that stands for it there, or ""."""

    key: str
    kind: Literal["choice", "int", "flag", "uris"]
    meaning: str
    builtin: str
    choices: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = _MAX_INT
    openrc: str = ""


SETTINGS: dict[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting("URIS", "uris", "libvirt connections whose guests are handled, blank between them", "default",
                openrc="LIBVIRT_URIS"),
        Setting("ON_BOOT", "choice", "start what ran at shutdown, or ignore it", "start", ("start", "ignore"),
                openrc="LIBVIRT_START"),
        Setting("START_DELAY", "int", "seconds between two guest starts", "0"),
        Setting("ON_SHUTDOWN", "choice", "suspend guests to disk, or shut them down", "suspend",
                ("suspend", "shutdown"), openrc="LIBVIRT_SHUTDOWN"),
        Setting("PARALLEL_SHUTDOWN", "int", "guests shut down at the same time; 0 is one after another", "0"),
        Setting("SHUTDOWN_TIMEOUT", "int", "seconds to wait for a guest to shut down; 0 is for ever", "300",
                openrc="LIBVIRT_MAXWAIT"),
        Setting("BYPASS_CACHE", "flag", "1 saves guests past the page cache", "0", ("0", "1")),
        Setting("SYNC_TIME", "flag", "1 sets the clock of resumed guests through their agent", "0", ("0", "1")),
        Setting("PERSISTENT_ONLY", "choice", "true leaves transient guests alone; default does so when suspending",
                "default", ("default", "true", "false")),
    )
}  # fmt: skip

OPENRC_KEYS: tuple[str, ...] = (
    "LIBVIRT_URIS",
    "LIBVIRT_SHUTDOWN",
    "LIBVIRT_MAXWAIT",
    "LIBVIRT_IGNORE_AUTOSTART",
    "LIBVIRT_START",
    "LIBVIRT_NET_SHUTDOWN",
)
