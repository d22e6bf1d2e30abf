"""What libvirt-guests itself will do with the settings in force, in one word for shutdown and one for boot."""

from collections.abc import Mapping
from typing import NamedTuple

from lvg.detect import Host
from lvg.profiles import boot_means, shutdown_means

_OPENRC = {"shutdown": "shutdown", "destroy": "destroy"}  # anything else means managedsave there


class Net(NamedTuple):
    """`shutdown` is shutdown, suspend or destroy; `boot` is start or ignore."""

    shutdown: str
    boot: str


def net_of(in_force: Mapping[str, str], host: Host) -> Net:
    """Return what the settings that sh sees in the file mean, with the service's own defaults.

    Debian patches upstream's start and suspend to ignore and shutdown.
    """
    if host.dialect == "openrc":
        boots = "ignore" if in_force.get("LIBVIRT_START") == "no" else "start"
        return Net(_OPENRC.get(in_force.get("LIBVIRT_SHUTDOWN", ""), "suspend"), boots)
    boot, shutdown = ("ignore", "shutdown") if host.distro.family == "debian" else ("start", "suspend")
    return Net(shutdown_means(in_force.get("ON_SHUTDOWN", shutdown)), boot_means(in_force.get("ON_BOOT", boot)))
