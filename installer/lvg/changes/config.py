"""What has to change in the libvirt-guests file: in the file itself, or in the overlay that covers it."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from lvg import envfile, settings, units
from lvg.changes.types import Conflict, Delivery, Wish
from lvg.errors import UsageError
from lvg.filestate import FileState, file_state
from lvg.layout import OVERLAY, dropin_path
from lvg.profiles import Profile, yield_to
from lvg.record import Record
from lvg.survey import Survey

_CREATED = b"""\
# Installed by lvg-install
# Settings of libvirt-guests, which stops or saves the guests of this host when it goes down.
# Stop guests by hand: stopvm stop --now
# Undo without lvg: rm this file
"""
_OVERLAID = """\
# Installed by lvg-install
# libvirt-guests reads this file in place of {covered}: edits there have no effect while this file exists.
# Stop guests by hand: stopvm stop --now
# Undo without lvg: rm this file
"""


@dataclass(frozen=True)
class ConfigPart:
    """The libvirt-guests file after the run, and what the run then owns in it.

    `files` are wanted states by path; `in_force` are all settings that sh will see, upstream names.
    """

    delivery: Delivery
    profile: Profile
    files: Mapping[str, FileState]
    settings: Mapping[str, str]
    kept: Mapping[str, str]
    inherited: tuple[str, ...]
    covered: str
    in_force: Mapping[str, str]
    conflicts: tuple[Conflict, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Base:
    """The text that is edited: the admin's own, not ours of last time, so that a dropped wish goes away."""

    path: str
    state: FileState
    text: bytes
    edited_since: bool
    drop: tuple[str, ...]


def config_part(wish: Wish, survey: Survey, profile: Profile) -> ConfigPart:
    """Decide the new text of the libvirt-guests file.

    Raises UsageError for a setting that this host cannot have, LvgError for a file that sh cannot read.
    """
    delivery = _delivery(wish, survey)
    base = _base(survey, delivery)
    wanted = _wanted(survey, profile)
    kept = _kept(survey, base, wanted) if wish.keep else {}
    profile, kept_notes = yield_to(profile, kept)
    translation = settings.to_dialect(wanted, survey.host.dialect)
    owned = {key: value for key, value in translation.values.items() if key not in kept}
    drop = tuple(key for key in base.drop if key not in owned and key not in kept)
    edit = envfile.checked_edit(base.text, owned, drop)
    meta = base.state.meta if base.state.kind == "file" else file_state(b"").meta
    files = {base.path: FileState("file", edit.data, meta=meta)}
    if delivery == "overlay":
        text = units.overlay_dropin(survey.config_path)
        files[dropin_path(units.GUESTS, units.OVERLAY_DROP_IN)] = file_state(text.encode())
    return ConfigPart(
        delivery=delivery,
        profile=profile,
        files=files,
        settings=owned,
        kept=kept,
        inherited=_inherited(survey, base, owned),
        covered=_covered(survey).digest if delivery == "overlay" else "",
        in_force=_in_force(edit.data),
        conflicts=_edited_by_hand(wish, survey, base),
        warnings=tuple(settings.problems(survey.host.dialect, _admins_own(edit.data, owned, survey.host.dialect))),
        notes=(*_was(survey, base, edit.was, owned), *translation.notes, *edit.notes, *kept_notes),
    )


def _delivery(wish: Wish, survey: Survey) -> Delivery:
    if not wish.overlay:
        return "edit"
    if survey.host.init != "systemd":
        raise UsageError("--overlay needs systemd", "Run again without --overlay: the file itself is then edited.")
    first = _first_state(survey, survey.config_path)
    return "overlay" if first.kind != "absent" else "edit"


def _first_state(survey: Survey, path: str) -> FileState:
    """Return what `path` was before lvg ever touched it."""
    for checkpoint in survey.checkpoints:
        for entry in checkpoint.entries:
            if entry.path == path:
                return entry.before
    return survey.state(path)


def _base(survey: Survey, delivery: Delivery) -> _Base:
    path = OVERLAY if delivery == "overlay" else survey.config_path
    now, record = survey.state(path), survey.record
    ours = record is not None and path in record.files
    edited = record is not None and ours and record.files[path] != now.digest
    inherited = record.inherited if record and ours else ()
    if delivery == "overlay":
        text = _OVERLAID.format(covered=survey.config_path).encode() + _covered(survey).data
        return _Base(path, now, text, edited, ())
    if edited and record:
        return _Base(path, now, now.data, True, (*record.settings, *inherited))
    if ours:
        authored = _last_authored(survey, path)
        return _Base(path, now, authored.data if authored.kind == "file" else _CREATED, False, inherited)
    return _Base(path, now, now.data if now.kind == "file" else _CREATED, False, ())


def _covered(survey: Survey) -> FileState:
    """Return the text under an overlay: the admin's own, without what an earlier run edited into it."""
    edited_by_us = survey.record is not None and survey.config_path in survey.record.files
    return _last_authored(survey, survey.config_path) if edited_by_us else survey.state(survey.config_path)


def _last_authored(survey: Survey, path: str) -> FileState:
    """Return the last text of `path` that was not ours: the first one, or one that a forced run met."""
    found, last = FileState("absent"), ""
    for checkpoint in survey.checkpoints:
        for entry in checkpoint.entries:
            if entry.path == path:
                found = entry.before if entry.before.digest != last else found
                last = entry.after
    return found


def _wanted(survey: Survey, profile: Profile) -> dict[str, str]:
    """Return the profile's settings, less defaults that this libvirt does not know yet."""
    known = survey.host.service.keys if survey.host.dialect == "upstream" else frozenset[str]()
    wanted = dict(profile.settings)
    for key in [key for key in wanted if known and key not in known]:
        if wanted.pop(key) != settings.SETTINGS[key].builtin:
            version = survey.host.service.version
            what = f"{key} is not known to the libvirt{' ' + version if version else ''} of this host"
            raise UsageError(what, f"Leave {key} out, or install a newer libvirt.")
    return wanted


def _kept(survey: Survey, base: _Base, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that the admin has set: --keep leaves them alone."""
    ours = survey.record.settings if survey.record else {}
    inherited = {key: ours[key] for key in base.drop if key in ours}
    targets = settings.to_dialect(wanted, survey.host.dialect).values
    found = envfile.sh_values(base.text, targets)
    return {key: value for key, value in found.items() if value is not None and inherited.get(key) != value}


def _inherited(survey: Survey, base: _Base, owned: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({*base.drop, *owned})) if base.edited_since else base.drop


def _in_force(text: bytes) -> dict[str, str]:
    found = envfile.sh_values(text, settings.SETTINGS)
    return {key: value for key, value in found.items() if value is not None}


def _admins_own(text: bytes, owned: Mapping[str, str], dialect: str) -> dict[str, str]:
    keys = settings.SETTINGS if dialect == "upstream" else settings.OPENRC_KEYS
    found = envfile.sh_values(text, keys)
    return {key: value for key, value in found.items() if value is not None and key not in owned}


def _edited_by_hand(wish: Wish, survey: Survey, base: _Base) -> tuple[Conflict, ...]:
    record = survey.record
    if wish.force or wish.keep or record is None:
        return ()
    paths = dict.fromkeys([base.path, survey.config_path])
    return tuple(
        Conflict(
            f"{path} was edited by hand since lvg applied {record.profile}",
            "Run again with --force to put the profile's settings into it, or with --keep to leave the edited ones.",
            unified(path, _as_applied(survey, path, record), survey.state(path).data),
        )
        for path in paths
        if path in record.files and record.files[path] != survey.state(path).digest
    )


def _as_applied(survey: Survey, path: str, record: Record) -> bytes:
    """Return the text that the last apply made of `path`: only its digest was kept."""
    if path == OVERLAY:
        text = _OVERLAID.format(covered=survey.config_path).encode() + _covered(survey).data
    else:
        authored = _last_authored(survey, path)
        text = authored.data if authored.kind == "file" else _CREATED
    return envfile.edit(text, record.settings).data


def _was(survey: Survey, base: _Base, was: Mapping[str, str | None], owned: Mapping[str, str]) -> tuple[str, ...]:
    if survey.record is not None and not base.edited_since:
        return ()
    return tuple(f"{key} was {was[key]}" for key in owned if was.get(key) not in (None, owned[key]))


def unified(path: str, before: bytes, after: bytes) -> str:
    """Return a unified diff of two texts; bytes that are not UTF-8 are shown as escapes."""
    old, new = (data.decode("utf-8", "backslashreplace").splitlines(keepends=True) for data in (before, after))
    lines = difflib.unified_diff(old, new, f"a{path}", f"b{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


