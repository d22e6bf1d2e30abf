"""What has to change in the libvirt-guests file: in the file itself, or in the overlay that covers it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lvg import envfile, settings, units
from lvg.changes.base import Base, as_applied, covered_state, find_base, first_state
from lvg.changes.net import Net, net_of
from lvg.changes.types import Conflict, Delivery, Wish
from lvg.errors import LvgError, UsageError
from lvg.filestate import FileState, Meta, file_state
from lvg.layout import OVERLAY, dropin_path
from lvg.profiles import Profile, yield_to
from lvg.survey import Survey


@dataclass(frozen=True)
class ConfigPart:
    """The libvirt-guests file after the run, and what the run then owns in it.

    `files` are wanted states by path; `in_force` are all settings that sh will see in the file.
    """

    delivery: Delivery
    profile: Profile
    files: Mapping[str, FileState]
    settings: Mapping[str, str]
    kept: Mapping[str, str]
    inherited: Mapping[str, str]
    covered: str
    in_force: Mapping[str, str]
    net: Net
    conflicts: tuple[Conflict, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def config_part(wish: Wish, survey: Survey, profile: Profile) -> ConfigPart:
    """Decide the new text of the libvirt-guests file.

    Raises UsageError for a setting that this host cannot have, LvgError for a file that sh cannot read.
    """
    delivery = _delivery(wish, survey)
    base = find_base(survey, delivery, keep=wish.keep)
    wanted = _wanted(survey, profile)
    kept = _kept(survey, base, wanted) if wish.keep else {}
    profile, kept_notes = yield_to(profile, kept)
    translation = settings.to_dialect(wanted, survey.host.dialect)
    owned = {key: value for key, value in translation.values.items() if key not in kept}
    drop = tuple(key for key in base.inherited if key not in owned and key not in kept)
    first = (
        survey.record is None or base.edited_since or bool(survey.record.kept)
    )  # then what the admin had set is reported
    every = (*settings.SETTINGS, *settings.OPENRC_KEYS)
    try:
        edit = envfile.checked_edit(base.text, owned, drop, every, before=first)
    except LvgError as error:
        raise type(error)(f"{base.path}: {error.what}", error.todo.replace("FILE", base.path)) from None
    files = {base.path: FileState("file", edit.data, meta=_meta(survey, base))}
    if delivery == "overlay":
        text = units.overlay_dropin(survey.config_path)
        files[dropin_path(units.GUESTS, units.OVERLAY_DROP_IN)] = file_state(text.encode())
    in_force = {key: value for key, value in edit.now.items() if value is not None}
    return ConfigPart(
        delivery=delivery,
        profile=profile,
        files=files,
        settings=owned,
        kept=kept,
        inherited=base.inherited,
        covered=covered_state(survey).digest if delivery == "overlay" else "",
        in_force=in_force,
        net=net_of(in_force, survey.host),
        conflicts=_edited_by_hand(wish, survey, base),
        warnings=tuple(settings.problems(survey.host.dialect, _admins_own(in_force, owned, survey.host.dialect))),
        notes=(*(_was(edit.was, owned) if first else ()), *translation.notes, *edit.notes, *kept_notes),
    )


def _delivery(wish: Wish, survey: Survey) -> Delivery:
    if not wish.overlay:
        return "edit"
    if not re.fullmatch(r"[\w./+@-]+", survey.config_path):
        raise UsageError(f"--overlay cannot cover {survey.config_path!r}", "Run again without --overlay.")
    if survey.host.init != "systemd":
        raise UsageError("--overlay needs systemd", "Run again without --overlay: the file itself is then edited.")
    first = first_state(survey, survey.config_path)
    return "overlay" if first.kind != "absent" else "edit"


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


def _kept(survey: Survey, base: Base, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that the admin has set: --keep leaves them alone."""
    targets = settings.to_dialect(wanted, survey.host.dialect).values
    found = envfile.sh_values(base.text, targets)
    return {key: value for key, value in found.items() if value is not None and base.inherited.get(key) != value}


def _meta(survey: Survey, base: Base) -> Meta:
    """Return owner, mode and attributes of the file: as it is, or as the file that it covers."""
    states = (base.state, covered_state(survey)) if base.path == OVERLAY else (base.state,)
    return next((state.meta for state in states if state.kind == "file"), file_state(b"").meta)


def _admins_own(in_force: Mapping[str, str], owned: Mapping[str, str], dialect: str) -> dict[str, str]:
    keys = settings.SETTINGS if dialect == "upstream" else settings.OPENRC_KEYS
    return {key: in_force[key] for key in keys if key in in_force and key not in owned}


def _edited_by_hand(wish: Wish, survey: Survey, base: Base) -> tuple[Conflict, ...]:
    record = survey.record
    if wish.force or wish.keep or record is None:
        return ()
    paths = dict.fromkeys([base.path, survey.config_path])
    return tuple(
        Conflict(
            f"{path} was edited by hand since lvg applied {record.profile}",
            "Run again with --force to put the profile's settings into it, or with --keep to leave the edited ones.",
            unified(path, as_applied(survey, path, record), survey.state(path).data),
        )
        for path in paths
        if path in record.files and record.files[path] != survey.state(path).digest
    )


def _was(was: Mapping[str, str | None], owned: Mapping[str, str]) -> tuple[str, ...]:
    changed = [key for key in owned if was.get(key) not in (None, owned[key])]
    return tuple(f"{key} was {was[key]}, becomes {owned[key]}" for key in changed)


def unified(path: str, before: bytes, after: bytes) -> str:
    """Return a unified diff of two texts; bytes that are not UTF-8 are shown as escapes."""
    import difflib  # noqa: PLC0415 - a run that changes nothing shows no diff

    old, new = (data.decode("utf-8", "backslashreplace").splitlines(keepends=True) for data in (before, after))
    lines = difflib.unified_diff(old, new, f"a{path}", f"b{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
