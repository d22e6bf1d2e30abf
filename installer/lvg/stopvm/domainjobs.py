"""The jobs of a libvirt domain: which one holds it, and how those end that stand against a save.

Imported only when libvirt is needed.
"""

import re
from contextlib import suppress

import libvirt

_OPERATIONS = {
    "SAVE": "save",
    "MIGRATION_OUT": "migration",
    "MIGRATION_IN": "migration",
    "SNAPSHOT": "snapshot",
    "SNAPSHOT_REVERT": "snapshot",
    "SNAPSHOT_DELETE": "snapshot",
    "DUMP": "dump",
    "BACKUP": "backup",
}
_DISK = re.compile(r"<target dev='([^']+)' bus=")


def operation(domain: "libvirt.virDomain") -> str:
    """Return which job holds the domain, as in Session.job. Raises libvirtError."""
    found = domain.jobStats()
    if found.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
        return ""
    for name, word in _OPERATIONS.items():  # older libvirt lacks the newer ones
        if found.get("operation") == getattr(libvirt, f"VIR_DOMAIN_JOB_OPERATION_{name}", -1):
            return word
    return "job"


def cancel(domain: "libvirt.virDomain") -> str:
    """Cancel the backup and all block jobs; return them in words, "" if there was none. Raises libvirtError."""
    found = []
    if operation(domain) == "backup":
        domain.abortJob()
        found.append("a backup")
    for disk in _DISK.findall(domain.XMLDesc(0)):
        with suppress(libvirt.libvirtError):  # some disks cannot have one
            if domain.blockJobInfo(disk):
                domain.blockJobAbort(disk)
                found.append(f"the block job of {disk}")
    return " and ".join(found)
