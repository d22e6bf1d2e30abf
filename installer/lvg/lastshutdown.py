"""The last shutdown of this host, as stopvm recorded it."""

import json
from collections import Counter
from typing import Any

from lvg.errors import LvgError
from lvg.files import Root
from lvg.layout import HISTORY_DIR


def last_shutdown(root: Root) -> dict[str, Any] | None:
    """Return the newest record with its verdicts counted, or None if there is none to be read."""
    names = [name for name in root.listdir(HISTORY_DIR) if name.endswith(".json")]
    for name in reversed(names):
        try:
            found = json.loads(root.read(f"{HISTORY_DIR}/{name}") or b"")
            if found["kind"] != "shutdown":
                continue  # a stop by hand
            verdicts = Counter(guest.get("verdict") or "lost" for guest in found["guests"])
            return {"when": found["started"], "file": name, "verdicts": dict(verdicts)}
        except (LvgError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None
