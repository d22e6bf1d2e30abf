"""The text that is edited: the admin's own, found again under what earlier runs of lvg made of it."""

from typing import NamedTuple

from lvg import envfile
from lvg.changes.types import Delivery
from lvg.filestate import ABSENT, FileState
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


class Base(NamedTuple):
    """The text to edit, and `state`, what lies at `path` now.

    `edited_since` says that somebody changed the file after the last apply; `drop` are keys of ours
    that stand in the text and go unless they are wanted again.
    """

    path: str
    state: FileState
    text: bytes
    edited_since: bool
    drop: tuple[str, ...]


def first_state(survey: Survey, path: str) -> FileState:
    """Return what `path` was before lvg ever touched it."""
    for checkpoint in survey.checkpoints:
        for entry in checkpoint.entries:
            if entry.path == path:
                return entry.before
    return survey.state(path)


def find_base(survey: Survey, delivery: Delivery) -> Base:
    """Return the text to edit for this delivery."""
    path = OVERLAY if delivery == "overlay" else survey.config_path
    now, record = survey.state(path), survey.record
    ours = record is not None and path in record.files
    edited = record is not None and ours and record.files[path] != now.digest
    inherited = record.inherited if record and ours else ()
    if delivery == "overlay":
        text = _OVERLAID.format(covered=survey.config_path).encode() + covered_state(survey).data
        return Base(path, now, text, edited, ())
    if edited and record:
        return Base(path, now, now.data, True, (*record.settings, *inherited))
    if ours:
        authored = last_authored(survey, path)
        return Base(path, now, authored.data if authored.kind == "file" else _CREATED, False, inherited)
    return Base(path, now, now.data if now.kind == "file" else _CREATED, False, ())


def covered_state(survey: Survey) -> FileState:
    """Return the text under an overlay: the admin's own, without what an earlier run edited into it."""
    edited_by_us = survey.record is not None and survey.config_path in survey.record.files
    return last_authored(survey, survey.config_path) if edited_by_us else survey.state(survey.config_path)


def last_authored(survey: Survey, path: str) -> FileState:
    """Return the last text of `path` that was not ours: the first one, or one that a forced run met."""
    found, last = ABSENT, ""
    for checkpoint in survey.checkpoints:
        for entry in checkpoint.entries:
            if entry.path == path:
                found = entry.before if entry.before.digest != last else found
                last = entry.after
    return found


def as_applied(survey: Survey, path: str, record: Record) -> bytes:
    """Return the text that the last apply made of `path`: only its digest was kept."""
    if path == OVERLAY:
        text = _OVERLAID.format(covered=survey.config_path).encode() + covered_state(survey).data
    else:
        authored = last_authored(survey, path)
        text = authored.data if authored.kind == "file" else _CREATED
    return envfile.edit(text, record.settings).data
