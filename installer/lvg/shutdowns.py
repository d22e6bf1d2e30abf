"""The last shutdown of this host, or power cut, as stopvm recorded it."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lvg.errors import LvgError
from lvg.files import Root
from lvg.layout import HISTORY_DIR

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def last_shutdown(root: Root) -> dict[str, Any] | None:
    """Return the newest record with its verdicts counted, or None if there is none to be read."""
    names = [name for name in root.listdir(HISTORY_DIR) if name.endswith(".json")]
    for name in reversed(names):
        try:
            found = json.loads(root.read(f"{HISTORY_DIR}/{name}") or b"")
            if found["kind"] not in ("shutdown", "cut"):
                continue  # a stop by hand
            return {"when": found["started"], "file": name, "verdicts": verdicts(found, _boot_id(root))}
        except (LvgError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def verdicts(record: Mapping[str, Any], this_boot: str) -> dict[str, int]:
    """Count the verdicts of a record. A guest without one is not yet down in this boot, and lost in an earlier one."""
    at_work = bool(this_boot) and not record.get("ended") and record.get("boot_id") == this_boot
    return dict(Counter(_verdict(guest, "not yet" if at_work else "lost") for guest in record["guests"]))


def _verdict(guest: Mapping[str, Any], without: str) -> str:
    verdict = str(guest.get("verdict") or without)
    return "left to libvirt-guests" if verdict == "left" and guest.get("wanted") else verdict


def _boot_id(root: Root) -> str:
    """Return the kernel's id of this boot; a root that does not run has none."""
    return (root.text(_BOOT_ID) or "").strip() if root.live else ""
