"""The change of one path, with the action and the reason that people read."""

from lvg.changes.types import Action, FileChange
from lvg.filestate import FileState
from lvg.layout import GUEST_LIST, LOCAL_PROGRAM, OVERLAY, POLICY, STOP_SCRIPT, UNIT_DIR


def file_change(path: str, before: FileState, after: FileState, unit: str = "") -> FileChange:
    """Return the change of one path, with the action and the reason that people read."""
    link = "link" in (before.kind, after.kind)
    unit = unit or (path.rsplit("/", 1)[-1] if link else "")
    action: Action = "write"
    if after.kind == "absent":
        action = "disable" if link else "remove"
    elif after.kind == "link":
        action = "enable"
    return FileChange(action, path, before, after, _reason(path, action), unit)


def _reason(path: str, action: Action) -> str:
    reasons = {
        LOCAL_PROGRAM: "the program that stops guests",
        STOP_SCRIPT: "calls stopvm",
        POLICY: "what stopvm does with whom",
        OVERLAY: "the settings of libvirt-guests, laid over the package's file",
        GUEST_LIST: "an old list: starting libvirt-guests would start these guests",
    }
    if action in ("enable", "disable"):
        return "comes up at boot" if action == "enable" else "no longer comes up at boot"
    if path.startswith(f"{UNIT_DIR}/"):
        return "protection of a unit" if ".d/" in path else "calls stopvm"
    return reasons.get(path, "the settings of libvirt-guests")
