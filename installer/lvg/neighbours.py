"""Who else acts on the guests: cluster managers, libvirt itself, an old list."""

import re
from collections.abc import Mapping

from lvg.detect import inits
from lvg.files import Root
from lvg.layout import GUEST_LIST
from lvg.systemd import Unit, running, unitfiles, units

# The services that start and stop guests by their own rules, and the name to show for each.
OWNER_UNITS: Mapping[str, str] = {
    "pacemaker.service": "pacemaker",
    "rgmanager.service": "rgmanager",
    "vdsmd.service": "vdsmd",
    "nova-compute.service": "nova-compute",
    "openstack-nova-compute.service": "nova-compute",
    "devstack@n-cpu.service": "nova-compute",
    "ganeti.service": "ganeti",
    "ganeti.target": "ganeti",
    "ganeti-noded.service": "ganeti",
    "kubelet.service": "kubelet",
}
_AUTO_SHUTDOWN = ("auto_shutdown_try_save", "auto_shutdown_try_shutdown", "auto_shutdown_poweroff")
_QEMU_CONF = "/etc/libvirt/qemu.conf"


def other_owners(root: Root) -> tuple[str, ...]:
    """Return who owns the guests besides libvirt-guests: enabled, or active on the live host."""
    if running(root):
        return owners_among(units(root, installed_owners(root)))
    scripts = inits.enabled_scripts(root)
    by_script = {unit for unit in OWNER_UNITS if unit.rpartition(".")[0] in scripts}
    by_link = {unit for unit in unitfiles.pulled_in(root).intersection(OWNER_UNITS) if not _is_masked(root, unit)}
    return tuple(sorted({OWNER_UNITS[unit] for unit in by_script | by_link}))


def installed_owners(root: Root) -> tuple[str, ...]:
    """Return the units of OWNER_UNITS that exist here: systemd takes 2 ms to miss one that does not."""
    return tuple(unit for unit in OWNER_UNITS if unitfiles.fragment(root, unit))


def _is_masked(root: Root, unit: str) -> bool:
    path = unitfiles.fragment(root, unit)
    return bool(path) and unitfiles.is_masked(root, path)


def owners_among(found: Mapping[str, Unit]) -> tuple[str, ...]:
    """Return the owners among units that were read already (all names of OWNER_UNITS, say)."""
    acting = (name for name, unit in found.items() if unit.enabled.startswith("enabled") or _acts(unit))
    return tuple(sorted({OWNER_UNITS[name] for name in acting if name in OWNER_UNITS}))


def _acts(unit: Unit) -> bool:
    return unit.active in ("active", "activating", "reloading")


def auto_shutdown(root: Root) -> dict[str, str]:
    """Return the auto_shutdown_* of qemu.conf that are on: libvirt would stop the guests too.

    Known since libvirt 11.2. The last assignment of a key counts; "none" means off.
    """
    text = root.text(_QEMU_CONF) or ""
    found = re.findall(r"^[ \t]*(\w+)[ \t]*=[ \t]*[\"']?([^\"'#\s]*)", text, re.MULTILINE)
    last = {key: value for key, value in found if key in _AUTO_SHUTDOWN}
    return {key: last[key] for key in _AUTO_SHUTDOWN if last.get(key, "none") != "none"}


def stale_list(root: Root) -> tuple[str, ...]:
    """Return the lines of the list that libvirt-guests left when it last stopped; () if there is none.

    While it lies there a stop does nothing, and a start boots every guest on it.
    """
    return tuple(line for line in (root.text(GUEST_LIST) or "").splitlines() if line.strip())
