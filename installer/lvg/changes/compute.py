"""A wish, a survey of the host and a profile in; everything that has to change out."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from lvg import __version__, units
from lvg.changes.acts import (
    RUNNING,
    list_notes,
    moved_list,
    openrc_list_waits,
    openrc_starts,
    reload,
    starts,
)
from lvg.changes.base import authored, first_state, without_ours
from lvg.changes.config import ConfigPart, config_part
from lvg.changes.own import links, own_files
from lvg.changes.paths import file_change
from lvg.changes.refusals import forced, is_foreign, refusals
from lvg.changes.types import Changes, FileChange, Wish
from lvg.filestate import ABSENT, FileState, dress
from lvg.layout import (
    GUEST_LIST,
    LOCAL_PROGRAM,
    OVERLAY,
    unit_path,
)
from lvg.profiles import Profile, worst_case_seconds
from lvg.record import Record
from lvg.survey import Survey, program_path

_LIMIT_SECONDS = 29 * 60  # systemd cuts a host shutdown off after 30 minutes (JobTimeoutSec of poweroff.target)


def compute(wish: Wish, survey: Survey, profile: Profile) -> Changes:
    """Return what has to change so that the host is as wished. Nothing is changed here.

    Raises UsageError for a wish that this host cannot have and LvgError for a file that sh cannot read.
    """
    config = config_part(wish, survey, profile)
    own = own_files(survey, config.profile, config.in_force)
    enabling = links(survey) if wish.enable else {}
    wanted = {**config.files, **own, **{path: state for path, (_, state) in enabling.items()}}
    returned = _returned(survey, wanted)
    acts = (*starts(wish, survey), *openrc_starts(wish, survey, config.net))
    moved = moved_list(survey, acts)
    units_by_path = {path: unit for path, (unit, _) in enabling.items()}
    files = _file_changes(survey, {**wanted, **returned, **moved}, units_by_path)
    record = _record(wish, survey, config, wanted)
    checked = _checked(wish, survey, config, [*own, *enabling, *returned])
    return Changes(
        profile=config.profile,
        delivery=config.delivery,
        files=files,
        acts=(*reload(survey, files), *acts),
        conflicts=(*config.conflicts, *refusals(wish, survey, config, checked)),
        warnings=(*_warnings(survey, config), *forced(wish, survey, config, checked)),
        notes=(*config.notes, *list_notes(survey, moved)),
        record=record,
        net=config.net,
        unchanged=_unchanged(survey, config, files),
        remember=survey.record is None or not record.same_wish_as(survey.record),
    )


def _checked(wish: Wish, survey: Survey, config: ConfigPart, ours: Iterable[str]) -> list[str]:
    """Return the paths where a foreign file is a conflict: all of ours, but never the admin's own file.

    An overlay of ours that was edited is none either with --keep, which leaves the edited settings in it.
    """
    kept = wish.keep and survey.record is not None and OVERLAY in survey.record.files
    foreign = config.delivery == "overlay" and not kept and is_foreign(survey, OVERLAY, survey.state(OVERLAY))
    overlay = [OVERLAY] if foreign else []
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
    shadowing = {LOCAL_PROGRAM, unit_path(units.SHUTDOWN), unit_path(units.RESTORE)} if survey.packaged else set()
    gone = [path for path in survey.record.files if path not in wanted]
    return {
        path: ABSENT if path in shadowing else _as_it_was(survey, path) for path in gone if not _moved(survey, path)
    }


def _as_it_was(survey: Survey, path: str) -> FileState:
    """Return what a path was without lvg; of the settings file, the admin's own text as it is by now."""
    config = survey.record is not None and path == survey.record.settings_path and path != OVERLAY
    return without_ours(authored(survey, path)) if config else first_state(survey, path)


def _moved(survey: Survey, path: str) -> bool:
    """True if the admin has put a link in place of the settings file: then the file that it leads to is edited."""
    return survey.record is not None and path == survey.record.settings_path and survey.state(path).kind == "link"


def _unchanged(survey: Survey, config: ConfigPart, files: Iterable[FileChange]) -> tuple[FileChange, ...]:
    """Return the settings files that already are as wished: the checkpoint notes that the admin wrote them so."""
    changed = {change.path for change in files}
    return tuple(
        FileChange("write", path, survey.state(path), survey.state(path), "is as wished already")
        for path in config.files
        if path not in changed
    )


def _file_changes(
    survey: Survey, wanted: Mapping[str, FileState], units_by_path: Mapping[str, str]
) -> tuple[FileChange, ...]:
    found = []
    for path, after in wanted.items():
        before = survey.state(path)
        if not before.same_as(after):
            found.append(file_change(path, before, after, units_by_path.get(path, "")))
    return tuple(found)


def _warnings(survey: Survey, config: ConfigPart) -> tuple[str, ...]:
    found = [*survey.host.disagreements, *config.warnings]
    if not survey.host.service.installed:
        found.append("libvirt-guests is not installed here yet: nothing acts on these settings until it is")
    if survey.host.init not in ("systemd", "openrc"):
        what = f"stopvm needs systemd or OpenRC, and this host runs {survey.host.init}"
        found.append(f"{what}: only libvirt-guests was set up")
    if survey.openrc and openrc_list_waits(survey, config.net):
        what = "libvirt-guests is not started now, since that would start guests on an old list"
        found.append(f"{what}: rc-service libvirt-guests start")
    worst = worst_case_seconds(config.profile, max(1, survey.guests), config.in_force)
    if worst > _LIMIT_SECONDS and survey.host.init == "systemd":
        what = f"in the worst case a shutdown takes {worst} s, and systemd cuts it off after 1800 s"
        found.append(f"{what}: set PARALLEL_SHUTDOWN above 1, or a smaller SHUTDOWN_TIMEOUT or budget")
    net = survey.units.get(units.GUESTS)
    if survey.running and net and net.active in RUNNING and survey.state(GUEST_LIST).kind != "absent":
        found.append(f"{GUEST_LIST} is an old list that keeps libvirt-guests from stopping guests: move it away")
    return tuple(found)


def _record(wish: Wish, survey: Survey, config: ConfigPart, wanted: Mapping[str, FileState]) -> Record:
    profile = config.profile
    systemd_host = survey.host.init == "systemd"
    stopvm_runs = survey.host.init in ("systemd", "openrc")
    return Record(
        version=__version__,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        profile=profile.name,
        summary=profile.summary,
        command=wish.command,
        delivery=config.delivery,
        config_file=survey.host.config_file,
        settings_path=next(iter(config.files)),
        asked_distro=wish.distro,
        asked_config=wish.config_file,
        dialect=survey.host.dialect,
        init=survey.host.init,
        net=survey.units[units.GUESTS].load if systemd_host else "",
        program=program_path(survey.packaged) if stopvm_runs else "",
        protect=bool(profile.stop["protect"]) and stopvm_runs,
        enable=wish.enable,
        start=wish.start and survey.host.root.live,
        live=survey.host.root.live,
        settings=dict(config.settings),
        kept=dict(config.kept),
        inherited=dict(config.inherited),
        files={path: state.digest for path, state in wanted.items()},
        modes={
            path: dress(state) for path, state in wanted.items() if state.kind == "file" and path not in config.files
        },
        covered=config.covered,
    )
