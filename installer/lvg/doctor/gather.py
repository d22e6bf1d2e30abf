"""Everything that the checks look at, read once. What can hang runs beside the rest, and has a deadline."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from lvg import bundle, guests, shutdowns, systemd, timeline
from lvg.doctor import alone, config, installed, ordering, processes, qemus, resources, rivals, stopped, ups
from lvg.doctor.tasks import Task
from lvg.doctor.types import HostFacts, Qemu
from lvg.errors import LvgError
from lvg.files import Root
from lvg.guests import Answer
from lvg.layout import POLICY
from lvg.stopvm import policy
from lvg.stopvm.policy import Policy
from lvg.survey import Survey, survey_as_applied
from lvg.timeline import Timeline

T = TypeVar("T")
Units = Mapping[str, Mapping[str, str]]

LIBVIRT_SECONDS = 8.0  # a busy libvirtd with 100 guests answers within one
SYSTEMD_SECONDS = 8.0
UPS_SECONDS = 3.0
_SPARE = 3.0  # what a deadline of its own may take to end something
_FILE_BYTES = 64 << 10
_FILES = 200  # in one folder
_NO_UNITS: tuple[Mapping[int, str], Units] = ({}, {})
_NO_ANSWERS: tuple[Answer, ...] = ()
_NOT_READ: tuple[Mapping[str, str], Mapping[str, Mapping[str, str]]] = ({}, {})
_NO_FILES: Mapping[str, str] = {}
_NOT_MEASURED: Mapping[str, float] = {}
_PROGRAM = re.compile(r"path=(/\S+)")


@dataclass
class _Notes:
    """What could not be gathered."""

    failed: list[str] = field(default_factory=list)

    def attempt(self, what: str, call: Callable[[], T], otherwise: T) -> T:
        """Return what a call returns; note why it could not."""
        try:
            return call()
        except LvgError as error:
            self.failed.append(f"{what}: {error.what}")
        except Exception as error:  # one thing that cannot be read must not hide all others
            self.failed.append(f"{what}: {type(error).__name__}: {error}")
        return otherwise


def gather(root: Root) -> HostFacts:
    """Read the live host. Raises LvgError only if the host cannot be surveyed at all."""
    notes = _Notes()
    rules = notes.attempt(POLICY, lambda: policy.load(root.real(POLICY)), Policy())
    surveying = Task("the survey of this host", lambda: survey_as_applied(root))
    asking = Task("libvirt", lambda: guests.look(rules.uris, LIBVIRT_SECONDS, _inside(rules)))
    showing = Task("systemctl show", lambda: _units(root))
    module = Task("Python's libvirt module", lambda: bundle.interpreter_has_libvirt(root))
    reading = Task("configuration files", lambda: _read(root))
    measuring = Task("free space", lambda: _free(root, resources.FOLDERS))
    scopes, units = notes.attempt("systemd", lambda: showing.result(SYSTEMD_SECONDS + _SPARE), _NO_UNITS)
    answers = notes.attempt("guests", lambda: asking.result(LIBVIRT_SECONDS + _SPARE), _NO_ANSWERS)
    files, supplies = notes.attempt("files", lambda: reading.result(_SPARE + UPS_SECONDS), _NOT_READ)
    surveyed = surveying.result(SYSTEMD_SECONDS + _SPARE)
    settings = config.read(surveyed)
    in_force = alone.in_force(rules, surveyed, settings)
    if in_force.uris != rules.uris:
        answers = notes.attempt("guests", lambda: guests.look(in_force.uris, LIBVIRT_SECONDS), answers)
    left = notes.attempt("the last stop", lambda: stopped.read(root), stopped.Left())
    return HostFacts(
        survey=surveyed,
        policy=in_force,
        timeline=_timeline(root, notes, in_force, answers, units),
        settings=settings,
        units=units,
        answers=answers,
        files={**files, **notes.attempt("drop-ins", lambda: _files(root, _named(surveyed, units)), _NO_FILES)},
        scopes=scopes,
        qemus=notes.attempt("QEMU processes", lambda: qemus.read(scopes), tuple[Qemu, ...]()),
        free=notes.attempt("free space", lambda: measuring.result(_SPARE), _NOT_MEASURED),
        ups=supplies,
        programs=notes.attempt("programs", lambda: dict(_programs(root, units)), dict[str, bool]()),
        stopped=left.stopped,
        cut_off=left.cut_off,
        libvirt_module=notes.attempt("Python", lambda: module.result(SYSTEMD_SECONDS), True),
        failed=tuple(notes.failed),
    )


def _inside(rules: Policy) -> tuple[str, ...]:
    """Return patterns of the guests in which a stop runs commands."""
    if rules.base.before_stop:
        return ("*",)
    return tuple(rule.match for rule in rules.rules if dict(rule.values).get("before_stop"))


def _units(root: Root) -> tuple[Mapping[int, str], Units]:
    scopes = processes.scopes()
    if not systemd.running(root):
        return scopes, {}
    names = (*installed.UNITS, *ordering.UNITS, *resources.UNITS, *sorted(filter(None, scopes.values())))
    return scopes, systemd.properties(names, (*installed.PROPERTIES, *ordering.PROPERTIES), SYSTEMD_SECONDS)


def _read(root: Root) -> tuple[Mapping[str, str], Mapping[str, Mapping[str, str]]]:
    """Return the files of other programs, and what the UPSes say that stand in them."""
    files = _files(root, (*rivals.FILES, *resources.FILES))
    return files, ups.read(files, UPS_SECONDS)


def _timeline(root: Root, notes: _Notes, rules: Policy, answers: Iterable[Answer], units: Units) -> Timeline:
    usual = notes.attempt("records of shutdowns", lambda: shutdowns.usual(shutdowns.past(root)[0]), _NOT_MEASURED)
    running, limit = guests.running(answers), timeline.limit_of(units)
    nothing = Timeline((), rules.budget, 0.0, None, 0.0, 0.0)
    return notes.attempt("the plan", lambda: timeline.of(rules, running, usual, limit), nothing)


def _programs(root: Root, units: Units) -> Iterator[tuple[str, bool]]:
    """Yield each program that a unit of ours runs at its stop, and if it can be run."""
    for name in installed.UNITS:
        for path in _PROGRAM.findall(units.get(name, {}).get("ExecStop", "")):
            yield path, root.exists(path) and os.access(root.real(path), os.X_OK)


def _named(surveyed: Survey, units: Units) -> tuple[str, ...]:
    """Return the files that are known by name only now: drop-ins, and the script of libvirt-guests."""
    drop_ins = (path for name in installed.UNITS for path in units.get(name, {}).get("DropInPaths", "").split())
    return tuple(filter(None, (*drop_ins, surveyed.host.service.script)))


def _files(root: Root, paths: Iterable[str]) -> Mapping[str, str]:
    """Return the texts of files; a path with a "/" at its end is a folder, and all files in it are meant."""
    wanted = (each for path in paths for each in (_in(root, path) if path.endswith("/") else (path,)))
    return {path: text for path in wanted if (text := _text(root, path)) is not None}


def _in(root: Root, folder: str) -> list[str]:
    return [folder + name for name in root.listdir(folder)[:_FILES]]


def _text(root: Root, path: str) -> str | None:
    """Return the beginning of a file, None if it is none, or a program."""
    try:
        handle = os.open(root.real(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (LvgError, OSError):
        return None
    try:  # the file that was checked is the one that is read
        data = os.read(handle, _FILE_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b"\0"
    finally:
        os.close(handle)
    return None if b"\0" in data else data.decode("utf-8", "surrogateescape")


def _free(root: Root, folders: Iterable[str]) -> Mapping[str, float]:
    """Return the MiB that root may still write in each folder that exists."""
    found = {}
    for folder in folders:
        if root.exists(folder):
            at = os.statvfs(root.real(folder))
            found[folder] = at.f_bavail * at.f_frsize / (1 << 20)
    return found
