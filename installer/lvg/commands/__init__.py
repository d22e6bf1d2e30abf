"""What each verb does: read the host, decide, act, say. Returns exit codes; raises LvgError.

The verbs that need more than the others are modules of their own, loaded when they are called.
"""

from lvg import apply, documents, render, verify
from lvg import detect as detection
from lvg import profiles as profile_room
from lvg.console import need_root, out, root_of, say, speaking, tell, warn
from lvg.errors import DriftError, NothingAppliedError
from lvg.shutdowns import last_shutdown, this_boot
from lvg.survey import survey_as_applied
from lvg.units import GUESTS

__all__ = ["detect", "profiles", "speaking", "status", "undo"]


def detect(folder: str | None, distro: str, config_file: str, as_json: bool) -> int:
    """Say what the host is."""
    host = detection.detect(root_of(folder), distro=distro, config_file=config_file)
    out([documents.dumps(documents.host_document(host))] if as_json else render.detect_lines(host))
    return 0


def profiles(name: str, folder: str | None, as_json: bool) -> int:
    """List the profiles, or show one."""
    root = root_of(folder)
    if name:
        profile = profile_room.load(name, root)
        document = documents.profile_document(profile)
        out([documents.dumps(document)] if as_json else render.profile_lines(profile))
        return 0
    found = profile_room.available(root)
    document = {"profiles": [documents.profile_document(profile) for profile in found]}
    out([documents.dumps(document)] if as_json else render.profile_list_lines(found))
    return 0


def status(folder: str | None, as_json: bool, quiet: bool) -> int:
    """Hold the host against what was applied."""
    root = root_of(folder)
    found = survey_as_applied(root)
    record, boot = found.record, this_boot(root)
    past, complaints = last_shutdown(root)
    last = documents.last_shutdown_document(past, boot)
    warn(complaints)
    if record is None:
        if as_json:
            out([documents.dumps(documents.status_document("none", [], last, {}))])
        raise NothingAppliedError()
    rows = verify.rows(found, record)
    drift = verify.drifted(rows)
    net = found.units.get(GUESTS) if record.init == "systemd" else None
    if as_json:
        extra = documents.applied_document(record, found.host.service)
        out([documents.dumps(documents.status_document("drift" if drift else "ok", rows, last, extra))])
    elif not quiet:
        out([render.last_shutdown_line(past, boot), *render.status_lines(record, rows, net)])
    elif drift:
        say([f"lvg: {drift[0]}"])
    return DriftError.code if drift else 0


def undo(folder: str | None, force: bool, quiet: bool, *, everything: bool) -> int:
    """Undo the last apply, or all of them."""
    root = root_of(folder)
    need_root(root)
    apply.require_something(root)
    with apply.session(root, force=force) as recovered:
        say(recovered)
        done = apply.remove(root, force=force) if everything else apply.rollback(root, force=force)
    if not quiet:
        word = "everything that lvg changed" if everything else "the last apply"
        tell(
            [
                *(f"  {change.action:<8} {change.unit or change.path}" for change in done.files),
                *(f"note: {note}" for note in done.notes),
                f"undone: {word}. What runs was left running; no unit was stopped.",
            ]
        )
    return 0
