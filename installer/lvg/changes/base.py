"""The text that is edited: the admin's own, found again under what earlier runs of lvg made of it."""

from collections.abc import Mapping
from typing import NamedTuple

from lvg import envfile
from lvg.changes.types import Delivery
from lvg.filestate import FileState
from lvg.layout import OVERLAY
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


class Authored(NamedTuple):
    """The admin's own text of a file; absent if lvg created the file.

    `inherited` are settings of ours that stand in it all the same, with the values they have there: a run with
    --force or --keep met them in a text that was edited after an apply. `edited_since` says that the text
    was edited after the last one.
    """

    state: FileState
    inherited: Mapping[str, str]
    edited_since: bool


class Base(NamedTuple):
    """The text to edit, and `state`, what lies at `path` now; the rest as in Authored."""

    path: str
    state: FileState
    text: bytes
    edited_since: bool
    inherited: Mapping[str, str]


def first_state(survey: Survey, path: str) -> FileState:
    """Return what `path` was before lvg ever touched it."""
    for checkpoint in survey.checkpoints:
        for entry in checkpoint.entries:
            if entry.path == path:
                return entry.before
    return survey.state(path)


def find_base(survey: Survey, delivery: Delivery, *, keep: bool) -> Base:
    """Return the text to edit for this delivery. With `keep`, an overlay that was edited, or kept so, is edited on."""
    path = OVERLAY if delivery == "overlay" else survey.config_path
    now, found = survey.state(path), authored(survey, path)
    if delivery == "overlay" and not (keep and (found.edited_since or found.inherited)):
        return Base(path, now, _overlaid(survey), found.edited_since, {})
    return Base(path, now, _or_created(found.state), found.edited_since, found.inherited)


def authored(survey: Survey, path: str) -> Authored:
    """Find the admin's own text of `path` under what earlier runs made of it."""
    now, record = survey.state(path), survey.record
    if record is None or path not in record.files:
        return Authored(now, {}, False)
    if record.files[path] != now.digest:
        return Authored(now, {**record.inherited, **record.settings}, True)
    return Authored(_last_authored(survey, path), record.inherited, False)


def without_ours(found: Authored) -> FileState:
    """Return the admin's text with our settings taken out of it."""
    if found.state.kind != "file" or not found.inherited:
        return found.state
    data = envfile.edit(found.state.data, {}, tuple(found.inherited)).data
    return FileState("file", data, meta=found.state.meta)


def covered_state(survey: Survey) -> FileState:
    """Return the file under an overlay: the admin's own, without what an earlier run edited into it."""
    return without_ours(authored(survey, survey.config_path))


def _last_authored(survey: Survey, path: str) -> FileState:
    """Return the last text of `path` that was not ours: the first one, or one that a forced run met."""
    found, last = survey.state(path), ""
    for checkpoint in survey.checkpoints:
        for entry in checkpoint.entries:
            if entry.path == path:
                found = entry.before if entry.before.digest != last else found
                last = entry.after
    return found


def as_applied(survey: Survey, path: str, record: Record) -> bytes:
    """Return the text that the last apply made of `path`: only its digest was kept."""
    anew = path == OVERLAY and not record.inherited
    text = _overlaid(survey) if anew else _or_created(_last_authored(survey, path))
    return envfile.edit(text, record.settings, [key for key in record.inherited if key not in record.settings]).data


def _overlaid(survey: Survey) -> bytes:
    """Return the text that an overlay starts as: our header, then the covered file."""
    return _OVERLAID.format(covered=survey.config_path).encode() + covered_state(survey).data


def _or_created(state: FileState) -> bytes:
    """Return the text of a file, or what lvg begins one with where there is none."""
    return state.data if state.kind == "file" else _CREATED
