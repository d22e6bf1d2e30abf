"""What each verb does: read the host, decide, act, say. Returns exit codes; raises LvgError."""

import shlex
from dataclasses import dataclass

from lvg import apply, bundle, documents, render, verify
from lvg import detect as detection
from lvg import profiles as profile_room
from lvg.changes import Changes, Wish, compute
from lvg.console import need_root, out, root_of, say, speaking
from lvg.errors import DriftError, NothingAppliedError, RefusedError, UsageError
from lvg.files import Root
from lvg.lastshutdown import last_shutdown
from lvg.profiles import Profile
from lvg.survey import Survey, survey
from lvg.units import GUESTS

__all__ = ["InstallWish", "detect", "install", "profiles", "speaking", "status", "undo"]


@dataclass(frozen=True)
class InstallWish:
    """The command line of lvg-install."""

    profile: str
    sets: tuple[str, ...]
    root: str
    distro: str
    config_file: str
    dry_run: bool
    keep: bool
    overlay: bool
    force: bool
    enable: bool
    start: bool
    as_json: bool
    quiet: bool
    command: tuple[str, ...]


def install(wish: InstallWish) -> int:
    """Apply a profile, or show what that would change."""
    root = root_of(wish.root)
    if not wish.profile:
        return _offer(root, wish)
    profile = profile_room.load(wish.profile, root, wish.sets)
    if wish.dry_run:
        changes, found = _decide(root, wish, profile)
        _show(wish, changes, found, checkpoint="")
        return RefusedError.code if changes.conflicts else 0
    need_root(root)
    with apply.session(root, force=wish.force) as recovered:
        changes, found = _decide(root, wish, profile)
        checkpoint = ""
        if changes.conflicts:
            _show(wish, changes, found, checkpoint)
            return RefusedError.code
        if changes.changed:
            checkpoint = apply.execute(root, changes).id
        say(recovered)
        _show(wish, changes, found, checkpoint)
    return 0


def _offer(root: Root, wish: InstallWish) -> int:
    host = detection.detect(root, distro=wish.distro, config_file=wish.config_file)
    out([*render.host_lines(host), "", "profiles:", *render.profile_list_lines(profile_room.available(root))])
    raise UsageError("no profile was named", "Choose one: lvg-install --profile NAME (with --dry-run to look first).")


def _decide(root: Root, wish: InstallWish, profile: Profile) -> tuple[Changes, Survey]:
    found = survey(root, distro=wish.distro, config_file=wish.config_file)
    detection.require_supported(found.host)
    if root.live:
        detection.require_installed(found.host)
    asked = Wish(wish.keep, wish.overlay, wish.force, wish.enable, wish.start, wish.command)
    return compute(asked, found, profile), found


def _show(wish: InstallWish, changes: Changes, found: Survey, checkpoint: str) -> None:
    warnings = [*changes.warnings, *_python_warning(found, changes)]
    for conflict in changes.conflicts:
        say([*conflict.diff.splitlines(), f"lvg-install: {conflict.what}", f"  {conflict.todo}"])
    if not wish.quiet:
        say(f"note: {note}" for note in changes.notes)
    say(f"warning: {warning}" for warning in warnings)
    if wish.as_json:
        document = documents.changes_document(changes, dry_run=wish.dry_run, checkpoint=checkpoint)
        out([documents.dumps(document)])
    elif not wish.quiet:
        out(_story(wish, changes, found, checkpoint))


def _python_warning(found: Survey, changes: Changes) -> list[str]:
    if found.host.root.live or not changes.record.program or bundle.interpreter_has_libvirt(found.host.root):
        return []
    return ["stopvm needs Python's libvirt below this root: install python3-libvirt (Arch: libvirt-python)"]


def _story(wish: InstallWish, changes: Changes, found: Survey, checkpoint: str) -> list[str]:
    lines = render.host_lines(found.host)
    if changes.conflicts:
        return [*lines, "refused: nothing was changed"]
    if not changes.changed:
        return [*lines, f"nothing to do: this host is as profile {changes.profile.name} wants it"]
    lines += ["", *render.change_lines(changes, full=wish.dry_run), ""]
    if wish.dry_run:
        return [*lines, "dry run: nothing was changed"]
    root = _root_words(wish)
    lines.append(f"Profile {changes.profile.name} is applied (checkpoint {checkpoint}).")
    lines += [f"Undo this run: lvg rollback{root}; undo everything: lvg remove{root}", ""]
    return lines + render.outlook_lines(changes.profile, stopvm=bool(changes.record.program))


def _root_words(wish: InstallWish) -> str:
    return f" --root {shlex.quote(wish.root)}" if wish.root else ""


def detect(folder: str, distro: str, config_file: str, as_json: bool) -> int:
    """Say what the host is."""
    host = detection.detect(root_of(folder), distro=distro, config_file=config_file)
    out([documents.dumps(documents.host_document(host))] if as_json else render.detect_lines(host))
    return 0


def profiles(name: str, folder: str, as_json: bool) -> int:
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


def status(folder: str, as_json: bool, quiet: bool) -> int:
    """Hold the host against what was applied."""
    root = root_of(folder)
    found = survey(root)
    last, record = last_shutdown(root), found.record
    if record is None:
        if as_json:
            out([documents.dumps(documents.status_document("none", [], last, {}))])
        raise NothingAppliedError("lvg has applied nothing here", "Run: lvg-install --profile graceful")
    if record.config_file != found.host.config_file:
        found = survey(root, config_file=record.config_file)
    rows = verify.rows(found, record)
    drift = verify.drifted(rows)
    net = found.units.get(GUESTS) if record.init == "systemd" else None
    if as_json:
        extra = documents.applied_document(record, found.host.service)
        out([documents.dumps(documents.status_document("drift" if drift else "ok", rows, last, extra))])
    elif not quiet:
        out([render.last_shutdown_line(last), *render.status_lines(record, rows, net)])
    elif drift:
        say([f"lvg: {drift[0]}"])
    return DriftError.code if drift else 0


def undo(folder: str, force: bool, quiet: bool, *, everything: bool) -> int:
    """Undo the last apply, or all of them."""
    root = root_of(folder)
    need_root(root)
    apply.require_something(root)
    with apply.session(root, force=force) as recovered:
        say(recovered)
        done = apply.remove(root, force=force) if everything else apply.rollback(root, force=force)
    if not quiet:
        out([f"  {change.action:<8} {change.unit or change.path}" for change in done.files])
        out([f"note: {note}" for note in done.notes])
        word = "everything that lvg changed" if everything else "the last apply"
        out([f"undone: {word}. What runs was left running; no unit was stopped."])
    return 0
