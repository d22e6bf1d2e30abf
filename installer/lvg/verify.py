"""Verify: what the host is now, held row by row against what was applied."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from lvg import envfile, units
from lvg.errors import LvgError
from lvg.layout import OVERLAY, POLICY, RECORD
from lvg.record import Record
from lvg.survey import Survey
from lvg.systemd import Unit


class Row(NamedTuple):
    """One thing that was applied: what is expected of it, and what was found."""

    what: str
    expected: str
    found: str
    state: Literal["ok", "drift"]


def _row(what: str, expected: str, found: str) -> Row:
    return Row(what, expected, found, "ok" if expected == found else "drift")


def rows(survey: Survey, record: Record) -> tuple[Row, ...]:
    """Return everything that `record` says, with what the host says today."""
    found = [*_settings(survey, record), *_files(survey, record)]
    if record.init == "systemd":
        found += _units(survey, record)
    if any(checkpoint.phase == "open" for checkpoint in survey.checkpoints):
        found.append(Row("runs of lvg", "finished", "one was cut off; the next run undoes it", "drift"))
    return tuple(found)


def drifted(found: tuple[Row, ...]) -> list[str]:
    """Return the rows that are not as expected, as one line each."""
    return [f"{row.what} is {row.found}, expected {row.expected}" for row in found if row.state == "drift"]


def _config_path(survey: Survey, record: Record) -> str:
    return OVERLAY if record.delivery == "overlay" else survey.config_path


def _settings(survey: Survey, record: Record) -> list[Row]:
    path = _config_path(survey, record)
    state = survey.state(path)
    if state.kind == "absent":
        return [Row(path, "present", "missing", "drift")]
    try:
        found: Mapping[str, str | None] = envfile.sh_values(state.data, record.settings)
    except LvgError as error:
        return [Row(path, "readable by sh", error.what, "drift")]
    return [_row(key, value, found.get(key) or "not set") for key, value in record.settings.items()]


def _files(survey: Survey, record: Record) -> list[Row]:
    config = _config_path(survey, record)
    found = []
    for path, digest in record.files.items():
        if path in (config, RECORD):
            continue  # its keys are ours, the file is the admin's
        now = survey.state(path).digest
        link = digest.startswith("link:")
        word = "enabled" if link else "as applied"
        other = "missing" if now == "absent" else "edited"
        found.append(_row(path, word, word if now == digest else other))
    if record.delivery == "overlay":
        now = survey.state(survey.config_path).digest
        found.append(_row(survey.config_path, "as covered", "as covered" if now == record.covered else "changed"))
    if POLICY in record.files and survey.state(POLICY).kind == "file":
        mode = survey.state(POLICY).meta.mode
        found.append(_row(f"{POLICY} mode", "0600", f"{mode:04o}"))
    return found


def _units(survey: Survey, record: Record) -> list[Row]:
    found = []
    for name in (units.GUESTS, units.SHUTDOWN, units.RESTORE):
        unit = survey.units[name]
        load = record.net if name == units.GUESTS else "loaded"
        if load == unit.load == "not-found":
            continue  # an image that gets libvirt later
        found.append(_row(name, *_words(unit, record, load, live=survey.running and name != units.RESTORE)))
    return found


def _words(unit: Unit, record: Record, load: str, *, live: bool) -> tuple[str, str]:
    """Return what a unit should be and what it is, in systemctl's words; `load` is how it was loaded then."""
    if load == "masked" or unit.load != "loaded":
        return load if load != "not-found" else "loaded", unit.load
    expected, found = [], []
    if record.enable:
        expected.append("enabled")
        found.append(unit.enabled or "not enabled")
    if live and record.start:
        expected.append("active")
        found.append(unit.active)
    return ", ".join(expected) or "loaded", ", ".join(found) or "loaded"
