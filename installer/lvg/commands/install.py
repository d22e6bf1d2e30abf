"""`lvg-install`."""

import shlex
from dataclasses import dataclass

from lvg import apply, bundle, documents, profiles, render
from lvg import detect as detection
from lvg.changes import Changes, Wish, compute
from lvg.console import need_root, out, root_of, say, tell
from lvg.errors import RefusedError, UsageError
from lvg.files import Root
from lvg.profiles import Profile
from lvg.survey import Survey, survey


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
    profile = profiles.load(wish.profile, root, wish.sets)
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
        out([*render.host_lines(host), "", "profiles:", *render.profile_list_lines(profiles.available(root))])
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
