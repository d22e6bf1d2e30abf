"""What each verb does: read the host, decide, act, say. Returns exit codes; raises LvgError."""

import shlex
from dataclasses import dataclass

from lvg import apply, bundle, documents, render, verify
from lvg import detect as detection
from lvg import profiles as profile_room
from lvg.changes import Changes, Wish, compute
from lvg.console import need_root, out, prepare_streams, root_of, say, speaking, tell
from lvg.errors import DriftError, NothingAppliedError, RefusedError, UsageError
from lvg.files import Root
from lvg.profiles import Profile
from lvg.shutdowns import last_shutdown, this_boot
from lvg.survey import Survey, survey
from lvg.units import GUESTS

__all__ = [
    "InstallWish",
    "command_of",
    "detect",
    "install",
    "prepare_streams",
    "profiles",
    "speaking",
    "status",
    "undo",
]


@dataclass(frozen=True)
class InstallWish:
    """The command line of lvg-install."""

    profile: str
    sets: tuple[str, ...]
    root: str | None
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
    if not wish.config_file.isprintable():
        raise UsageError(f"--config-file {wish.config_file!a} is no path to write into units", "Give another path.")
    if not wish.profile:
        return _offer(root, wish)
    profile = profile_room.load(wish.profile, root, wish.sets)
    if wish.dry_run:
        changes, found = _decide(root, wish, profile)
        _show(wish, changes, found, checkpoint="")
        return RefusedError.code if changes.conflicts else 0
    need_root(root, "Run it with sudo, or try --dry-run.")
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


def command_of(wish: InstallWish) -> tuple[str, ...]:
    """Return the command line that asks for this wish. What only decides what is printed is no part of it."""
    words = ["lvg-install", "--profile", wish.profile]
    words += [word for each in wish.sets for word in ("--set", each)]
    named = (("--root", wish.root), ("--distro", wish.distro), ("--config-file", wish.config_file))
    words += [word for option, value in named if value for word in (option, value)]
    flags = {"--keep": wish.keep, "--overlay": wish.overlay, "--force": wish.force}
    flags |= {"--no-enable": not wish.enable, "--no-start": not wish.start}
    return (*words, *(flag for flag, given in flags.items() if given))


def _offer(root: Root, wish: InstallWish) -> int:
    host = detection.detect(root, distro=wish.distro, config_file=wish.config_file)
    if not wish.as_json:
        out([*render.host_lines(host), "", "profiles:", *render.profile_list_lines(profile_room.available(root))])
    raise UsageError("no profile was named", "Choose one: lvg-install --profile NAME (with --dry-run to look first).")


def _decide(root: Root, wish: InstallWish, profile: Profile) -> tuple[Changes, Survey]:
    found = survey(root, distro=wish.distro, config_file=wish.config_file)
    detection.require_supported(found.host)
    if root.live:
        detection.require_installed(found.host)
    asked = Wish(
        wish.keep, wish.overlay, wish.force, wish.enable, wish.start, wish.distro, wish.config_file, wish.command
    )
    return compute(asked, found, profile), found


def _show(wish: InstallWish, changes: Changes, found: Survey, checkpoint: str) -> None:
    warnings = [*changes.warnings, *_python_warning(found, changes)]
    for conflict in changes.conflicts:
        heading = ["what was edited since:"] if conflict.diff else []
        say([*heading, *conflict.diff.splitlines(), f"lvg-install: {conflict.what}", f"  {conflict.todo}"])
    if not wish.quiet and not changes.conflicts:
        say(f"note: {note}" for note in changes.notes)
    say(f"warning: {warning}" for warning in warnings)
    if wish.as_json:
        document = documents.changes_document(changes, warnings, dry_run=wish.dry_run, checkpoint=checkpoint)
        tell([documents.dumps(document)])
    elif not wish.quiet:
        tell(_story(wish, changes, found, checkpoint))


def _python_warning(found: Survey, changes: Changes) -> list[str]:
    if found.host.root.live or not changes.record.program or bundle.interpreter_has_libvirt(found.host.root):
        return []
    package = "python3-libvirt (Arch: libvirt-python, Alpine: py3-libvirt)"
    return [f"stopvm needs Python's libvirt below this root: install {package}"]


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
    return lines + render.outlook_lines(changes)


def _root_words(wish: InstallWish) -> str:
    return f" --root {shlex.quote(wish.root)}" if wish.root else ""


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
    found = survey(root)
    record, boot = found.record, this_boot(root)
    past, complaints = last_shutdown(root)
    last = documents.last_shutdown_document(past, boot)
    say(f"warning: {text}".replace("\n", "\\n") for text in complaints)
    if record is None:
        if as_json:
            out([documents.dumps(documents.status_document("none", [], last, {}))])
        raise NothingAppliedError("lvg has applied nothing here", "Run: lvg-install --profile graceful")
    if record.asked_config or record.asked_distro:
        found = survey(root, distro=record.asked_distro, config_file=record.asked_config)
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
