"""A wish, a survey of the host and a profile in; everything that has to change out."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from lvg import __version__, units
from lvg.changes.config import ConfigPart, config_part
from lvg.changes.own import links, own_files
from lvg.changes.refusals import forced, is_foreign, refusals
from lvg.changes.types import Action, Changes, FileChange, UnitAct, Wish
from lvg.filestate import ABSENT, FileState
from lvg.layout import (
    GUEST_LIST,
    LOCAL_PROGRAM,
    OVERLAY,
    POLICY,
    UNIT_DIR,
    unit_path,
)
from lvg.profiles import Profile, worst_case_seconds
from lvg.record import Record
from lvg.survey import Survey, program_path

_LIMIT_SECONDS = 29 * 60  # systemd cuts a host shutdown off after 30 minutes (JobTimeoutSec of poweroff.target)
_RUNNING = ("active", "activating", "reloading")


def compute(wish: Wish, survey: Survey, profile: Profile) -> Changes:
    """Return what has to change so that the host is as wished. Nothing is changed here.

    Raises UsageError for a wish that this host cannot have and LvgError for a file that sh cannot read.
    """
    config = config_part(wish, survey, profile)
    own = own_files(survey, config.profile, config.in_force) if survey.host.init == "systemd" else {}
    enabling = links(survey) if wish.enable else {}
    wanted = {**config.files, **own, **{path: state for path, (_, state) in enabling.items()}}
    returned = _returned(survey, wanted)
    acts = _starts(wish, survey)
    moved = _moved_list(survey, acts)
    units_by_path = {path: unit for path, (unit, _) in enabling.items()}
    files = _file_changes(survey, {**wanted, **returned, **moved}, units_by_path)
    record = _record(wish, survey, config, wanted)
    ours = [*own, *returned]
    return Changes(
        profile=config.profile,
        delivery=config.delivery,
        files=files,
        acts=(*_reload(survey, files), *acts),
        conflicts=(*config.conflicts, *refusals(wish, survey, config.profile, _checked(survey, config, ours))),
        warnings=(*_warnings(survey, config), *forced(wish, survey, config.profile, _checked(survey, config, ours))),
        notes=(*config.notes, *_list_notes(survey, moved)),
        record=record,
        remember=survey.record is None or not record.same_wish_as(survey.record),
    )


def _checked(survey: Survey, config: ConfigPart, ours: Iterable[str]) -> list[str]:
    """Return the paths where a foreign file is a conflict: all of ours, but never the admin's own file."""
    overlay = [OVERLAY] if config.delivery == "overlay" and is_foreign(survey, OVERLAY, survey.state(OVERLAY)) else []
    already_said = {path for conflict in config.conflicts for path in [conflict.what.partition(" ")[0]]}
    packaged = [unit_path(units.SHUTDOWN), unit_path(units.RESTORE), LOCAL_PROGRAM] if survey.packaged else []
    paths = dict.fromkeys([*ours, *packaged, *overlay])
    return [path for path in paths if path not in {survey.config_path, *already_said}]


def _returned(survey: Survey, wanted: Mapping[str, FileState]) -> dict[str, FileState]:
    """Return what earlier runs wrote and this one does not want: it goes back to what it was.

    Local units and a local program would shadow those of a distro package, so these just go.
    """
    if survey.record is None:
        return {}
    first: dict[str, FileState] = {}
    for checkpoint in survey.checkpoints:
        for entry in checkpoint.entries:
            first.setdefault(entry.path, entry.before)
    shadowing = {LOCAL_PROGRAM, unit_path(units.SHUTDOWN), unit_path(units.RESTORE)} if survey.packaged else set()
    gone = [path for path in survey.record.files if path not in wanted]
    return {path: ABSENT if path in shadowing else first.get(path, ABSENT) for path in gone}


def _starts(wish: Wish, survey: Survey) -> tuple[UnitAct, ...]:
    if not wish.start or not survey.running or survey.host.init != "systemd":
        return ()
    net, ours = survey.units[units.GUESTS], survey.units[units.SHUTDOWN]
    found = []
    if net.load == "loaded" and net.active not in _RUNNING:
        found.append(UnitAct("start", units.GUESTS, "only a started unit acts at shutdown"))
    if ours.active not in _RUNNING:
        found.append(UnitAct("start", units.SHUTDOWN, "only a started unit acts at shutdown"))
    return tuple(found)


def _moved_list(survey: Survey, acts: Iterable[UnitAct]) -> dict[str, FileState]:
    """Starting libvirt-guests with ON_BOOT=start boots every guest on an old list, so the list goes first."""
    starts_net = any(act.unit == units.GUESTS for act in acts)
    return {GUEST_LIST: ABSENT} if starts_net and survey.state(GUEST_LIST).kind != "absent" else {}


def _list_notes(survey: Survey, moved: Mapping[str, FileState]) -> tuple[str, ...]:
    if not moved:
        return ()
    guests = ", ".join(survey.waiting_guests) or "no guest"
    return (f"an old list of libvirt-guests goes into the checkpoint, so that starting it starts nothing: {guests}",)


def _file_changes(
    survey: Survey, wanted: Mapping[str, FileState], units_by_path: Mapping[str, str]
) -> tuple[FileChange, ...]:
    found = []
    for path, after in wanted.items():
        before = survey.state(path)
        if not before.same_as(after):
            found.append(file_change(path, before, after, units_by_path.get(path, "")))
    return tuple(found)


def file_change(path: str, before: FileState, after: FileState, unit: str = "") -> FileChange:
    """Return the change of one path, with the action and the reason that people read."""
    link = "link" in (before.kind, after.kind)
    unit = unit or (path.rsplit("/", 1)[-1] if link else "")
    action: Action = "write"
    if after.kind == "absent":
        action = "disable" if link else "remove"
    elif after.kind == "link":
        action = "enable"
    return FileChange(action, path, before, after, _reason(path, action), unit)


def _reason(path: str, action: Action) -> str:
    reasons = {
        LOCAL_PROGRAM: "the program that stops guests",
        POLICY: "what stopvm does with whom",
        OVERLAY: "the settings of libvirt-guests, laid over the package's file",
        GUEST_LIST: "an old list: starting libvirt-guests would start these guests",
    }
    if action in ("enable", "disable"):
        return "comes up at boot" if action == "enable" else "no longer comes up at boot"
    if path.startswith(f"{UNIT_DIR}/"):
        return "protection of a unit" if ".d/" in path else "calls stopvm"
    return reasons.get(path, "the settings of libvirt-guests")


def _reload(survey: Survey, files: Iterable[FileChange]) -> tuple[UnitAct, ...]:
    touched = any(change.path.startswith(f"{UNIT_DIR}/") for change in files)
    return (UnitAct("reload", "", "systemd reads the changed units"),) if touched and survey.running else ()


def _warnings(survey: Survey, config: ConfigPart) -> tuple[str, ...]:
    found = [*survey.host.disagreements, *config.warnings]
    if not survey.host.service.installed:
        found.append("libvirt-guests is not installed here yet: nothing acts on these settings until it is")
    if survey.host.init != "systemd":
        found.append(f"stopvm needs systemd, and this host runs {survey.host.init}: only libvirt-guests was set up")
    worst = worst_case_seconds(config.profile, max(1, survey.guests), config.in_force)
    if worst > _LIMIT_SECONDS:
        what = f"in the worst case a shutdown takes {worst} s, and systemd cuts it off after 1800 s"
        found.append(f"{what}: set PARALLEL_SHUTDOWN above 1, or a smaller SHUTDOWN_TIMEOUT or budget")
    net = survey.units.get(units.GUESTS)
    if survey.running and net and net.active in _RUNNING and survey.state(GUEST_LIST).kind != "absent":
        found.append(f"{GUEST_LIST} is an old list that keeps libvirt-guests from stopping guests: move it away")
    return tuple(found)


def _record(wish: Wish, survey: Survey, config: ConfigPart, wanted: Mapping[str, FileState]) -> Record:
    profile = config.profile
    systemd_host = survey.host.init == "systemd"
    return Record(
        version=__version__,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        profile=profile.name,
        summary=profile.summary,
        command=wish.command,
        delivery=config.delivery,
        config_file=survey.host.config_file,
        dialect=survey.host.dialect,
        init=survey.host.init,
        net=survey.units[units.GUESTS].load if systemd_host else "",
        program=program_path(survey.packaged) if systemd_host else "",
        protect=bool(profile.stop["protect"]) and systemd_host,
        enable=wish.enable,
        start=wish.start and survey.host.root.live,
        settings=dict(config.settings),
        kept=dict(config.kept),
        inherited=config.inherited,
        files={path: state.digest for path, state in wanted.items()},
        covered=config.covered,
    )
