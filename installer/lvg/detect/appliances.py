"""Hosts that stop their own guests, although their os-release names a common distro."""

from lvg import advice
from lvg.files import Root


def appliance(root: Root) -> tuple[str, str]:
    """Return (name, what to do there) of the product that owns the guests here, or ("", "").

    Told by what only that product installs: Proxmox VE and TrueNAS say ID=debian.
    """
    if root.exists("/etc/NIXOS"):
        return "NixOS", advice.NIXOS
    if any(root.exists(path) for path in ("/etc/pve", "/usr/bin/pvesh", "/usr/share/pve-manager")):
        return "Proxmox VE", advice.PROXMOX
    if root.exists("/etc/version") and root.exists("/usr/bin/midclt"):
        return "TrueNAS", advice.TRUENAS
    if root.exists("/opt/xensource") or root.exists("/etc/xensource-inventory"):
        return "XCP-ng or XenServer", advice.XEN
    return "", ""
