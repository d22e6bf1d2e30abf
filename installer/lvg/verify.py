"""Verify: what the host is now, held row by row against what was applied."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from lvg import envfile, openrc, units
from lvg.errors import LvgError
from lvg.filestate import FileState, dress
from lvg.layout import PACKAGED_PROGRAM, RECORD
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
    if record.init == "openrc" and survey.openrc and record.start and record.program:
        now = "started" if openrc.SERVICE in survey.started else "not started"
        found.append(_row(openrc.SERVICE, "started", now))
    if any(checkpoint.phase == "open" for checkpoint in survey.checkpoints):
        found.append(Row("runs of lvg", "finished", "one was cut off; the next run undoes it", "drift"))
    return tuple(found)


def drifted(found: tuple[Row, ...]) -> list[str]:
    """Return the rows that are not as expected, as one line each."""
    return [f"{row.what} is {row.found}, expected {row.expected}" for row in found if row.state == "drift"]


def _settings(survey: Survey, record: Record) -> list[Row]:
    counts = _row("the file that counts", record.config_file, survey.host.config_file)
    rows = [counts] if counts.state == "drift" else []
    state = survey.state(record.settings_path)
    if state.kind != "file":
        return [*rows, Row(record.settings_path, "present", "missing" if state.kind == "absent" else "a link", "drift")]
    try:
        found: Mapping[str, str | None] = envfile.sh_values(state.data, record.settings)
    except LvgError as error:
        return [*rows, Row(record.settings_path, "readable by sh", error.what, "drift")]
    return [*rows, *(_row(key, value, found.get(key) or "not set") for key, value in record.settings.items())]


def _files(survey: Survey, record: Record) -> list[Row]:
    found = []
    for path, digest in record.files.items():
        if path in (record.settings_path, RECORD):
            continue  # its keys are ours, the file is the admin's
        now = survey.state(path)
        word = "enabled" if digest.startswith("link:") else "as applied"
        found.append(_row(path, word, _found(now, word, digest, record.modes.get(path, ""))))
    if record.delivery == "overlay":
        digest = survey.state(survey.config_path).digest
        found.append(_row(survey.config_path, "as covered", "as covered" if digest == record.covered else "changed"))
    if record.program == PACKAGED_PROGRAM:
        runs = survey.state(PACKAGED_PROGRAM).meta.mode & 0o100 and survey.state(PACKAGED_PROGRAM).kind != "absent"
        found.append(_row(PACKAGED_PROGRAM, "installed", "installed" if runs else "missing"))
    return found


def _found(now: FileState, word: str, digest: str, mode: str) -> str:
    if now.kind == "absent":
        return "missing"
    if now.digest != digest:
        return "edited"
    return word if not mode or dress(now) == mode else f"mode and owner {dress(now)}, not {mode}"


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
