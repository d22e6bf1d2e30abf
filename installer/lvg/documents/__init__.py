"""The JSON documents that others rely on. Keys may be added in later versions, never changed."""

import json
from collections.abc import Mapping, Sequence

from lvg.changes import Changes, FileChange
from lvg.changes.config import unified
from lvg.detect import Host, Service
from lvg.filestate import FileState
from lvg.profiles import Profile, explain
from lvg.record import Record
from lvg.shutdowns import Past, verdicts
from lvg.verify import Row


def dumps(document: Mapping[str, object]) -> str:
    """Return a document as the text that goes to stdout."""
    return json.dumps({"schema": 1, **document}, indent=2)


def host_document(host: Host) -> dict[str, object]:
    """Return the answer of `lvg detect --json`."""
    return {
        "distro": {
            "id": host.distro.id,
            "version": host.distro.version,
            "name": host.distro.name,
            "family": host.distro.family,
        },
        "supported": host.supported,
        "init": host.init,
        "config_file": host.config_file,
        "config_exists": host.config_exists,
        "dialect": host.dialect,
        "libvirt_guests": service_document(host.service),
        "evidence": [{"source": fact.source, "says": fact.says} for fact in host.evidence],
        "disagreements": list(host.disagreements),
        "advice": host.advice,
    }


def changes_document(changes: Changes, warnings: Sequence[str], *, dry_run: bool, checkpoint: str) -> dict[str, object]:
    """Return the answer of `lvg-install --json`."""
    files: list[dict[str, object]] = [
        {
            "action": change.action,
            "path": change.path,
            **({"unit": change.unit} if change.unit else {}),
            "reason": change.reason,
            "diff": diff_of(change),
        }
        for change in changes.files
    ]
    acts = [{"action": act.action, "unit": act.unit, "reason": act.reason, "diff": ""} for act in changes.acts]
    return {
        "changed": changes.changed,
        "dry_run": dry_run,
        "profile": changes.profile.name,
        "delivery": changes.delivery,
        "changes": files + acts,
        "conflicts": [{"what": each.what, "todo": each.todo, "diff": each.diff} for each in changes.conflicts],
        "warnings": list(warnings),
        "notes": list(changes.notes),
        "checkpoint": checkpoint,
    }


def status_document(
    state: str, rows: Sequence[Row], last_shutdown: Mapping[str, object] | None, extra: Mapping[str, object]
) -> dict[str, object]:
    """Return the answer of `lvg status --json`; `state` is ok, drift or none."""
    return {
        "state": state,
        "rows": [{"what": row.what, "expected": row.expected, "found": row.found, "state": row.state} for row in rows],
        "last_shutdown": last_shutdown,
        **extra,
    }


def last_shutdown_document(past: Past | None, boot: str) -> dict[str, object] | None:
    """Return the last shutdown as `lvg status --json` tells it."""
    if past is None:
        return None
    return {"when": past.record.started, "file": past.file, "verdicts": verdicts(past.record, boot)}


def applied_document(record: Record, service: Service) -> dict[str, object]:
    """Return what `lvg status --json` says besides its rows: the last apply, and libvirt-guests as it is now."""
    return {
        "profile": record.profile,
        "command": list(record.command),
        "applied": record.when,
        "kept": dict(record.kept),
        "libvirt_guests": service_document(service),
    }


def service_document(service: Service) -> dict[str, object]:
    """Return libvirt-guests as `systemctl status` would tell it."""
    return {
        "installed": service.installed,
        "unit": service.unit,
        "enabled": service.enabled,
        "active": service.active,
        "version": service.version,
        "preset": service.preset,
        "since": service.since,
    }


def profile_document(profile: Profile) -> dict[str, object]:
    """Return the answer of `lvg profiles NAME --json`."""
    return {
        "name": profile.name,
        "summary": profile.summary,
        "files": list(profile.files),
        "broken": profile.broken,
        "values": [
            {"section": row.section, "key": row.key, "value": row.value, "origin": row.origin}
            for row in (() if profile.broken else explain(profile))
        ],
    }


def diff_of(change: FileChange) -> str:
    """Return a unified diff of one change; a program is described, not shown."""
    sides = (change.before, change.after)
    if any(b"\0" in state.data for state in sides):
        return f"program {change.path}: {' -> '.join(_sizes(state) for state in sides)}\n"
    return unified(change.path, *(_text(state) for state in sides))


def _sizes(state: FileState) -> str:
    return "absent" if state.kind == "absent" else f"{len(state.data)} bytes, sha256 {state.digest[:12]}"


def _text(state: FileState) -> bytes:
    return f"link to {state.target}\n".encode() if state.kind == "link" else state.data
