"""Why a run must not go on without --force. Pure: a survey in, conflicts out."""

from collections.abc import Iterable

from lvg import units
from lvg.changes.config import ConfigPart
from lvg.changes.types import Conflict, Wish
from lvg.filestate import FileState
from lvg.layout import is_ours
from lvg.survey import Survey
from lvg.systemd import directives


def refusals(wish: Wish, survey: Survey, config: ConfigPart, wanted: Iterable[str]) -> tuple[Conflict, ...]:
    """Return every reason to refuse; `wanted` are the paths that the run would write.

    With --force nothing is refused, and `forced` says what is then overridden.
    """
    if wish.force:
        return ()
    found = [*_owners(survey, config), *_daemon(survey), *_masked(survey), *_foreign_package(survey)]
    found += [conflict for path in wanted for conflict in _foreign(survey, path)]
    return tuple(found)


def forced(wish: Wish, survey: Survey, config: ConfigPart, wanted: Iterable[str]) -> tuple[str, ...]:
    """Return what --force overrides, to be shown as warnings."""
    if not wish.force:
        return ()
    calm = Wish()
    return tuple(f"forced: {conflict.what}" for conflict in refusals(calm, survey, config, wanted))


def _owners(survey: Survey, config: ConfigPart) -> list[Conflict]:
    starts = config.profile.stop["boot"] == "restore" or config.net.boot == "start"
    if not survey.owners or not starts:
        return []
    names = ", ".join(survey.owners)
    what = f"{names} also starts guests on this host, and with {config.profile.name} they are started at boot"
    todo = "Two starts of one guest corrupt its disk. Use --set boot=ignore --set ON_BOOT=ignore."
    return [Conflict(what, todo)]


def _foreign_package(survey: Survey) -> list[Conflict]:
    """A stop unit in the vendor's folder that is not lvg's package: ours would shadow it."""
    if not survey.foreign_vendor:
        return []
    path, text = survey.foreign_vendor
    return [Conflict(_runs(path, text), "Remove its package; --force lays lvg's unit over it in /etc.")]


def _runs(path: str, text: str) -> str:
    stop = "; ".join(directives(text, "Service", "ExecStop")) or "nothing"
    return f"{path} is not lvg's; at shutdown it runs: {stop}"


def _daemon(survey: Survey) -> list[Conflict]:
    if not survey.auto_shutdown:
        return []
    keys = ", ".join(f'{key} = "{value}"' for key, value in survey.auto_shutdown.items())
    what = f"/etc/libvirt/qemu.conf lets the libvirt daemon stop guests itself: {keys}"
    return [Conflict(what, 'Set these to "none" there, or remove them; two that stop the same guests fight.')]


def _masked(survey: Survey) -> list[Conflict]:
    unit = survey.units.get(units.GUESTS)
    if unit is None or unit.load != "masked":
        return []
    what = "libvirt-guests.service is masked, so nothing would catch a guest that stopvm has to leave"
    return [Conflict(what, "Run: systemctl unmask libvirt-guests.service")]


def _foreign(survey: Survey, path: str) -> list[Conflict]:
    now = survey.state(path)
    if not is_foreign(survey, path, now):
        return []
    if survey.record and path in survey.record.files:
        what = f"{path} was edited by hand since lvg wrote it"
        return [Conflict(what, "--force replaces it and keeps a copy in a checkpoint.")]
    if path.endswith(f"/{units.SHUTDOWN}"):
        what = _runs(path, now.data.decode("utf-8", "replace"))
        return [Conflict(what, "--force keeps a copy in a checkpoint and replaces it.")]
    what = f"{path} exists and is not lvg's"
    return [Conflict(what, "Move it away, or let --force replace it; `lvg remove` then brings it back.")]


def is_foreign(survey: Survey, path: str, now: FileState) -> bool:
    """True if there is something at one of our paths that we did not write, or that was edited since."""
    if now.kind == "absent":
        return False
    record = survey.record
    if record and path in record.files:
        return record.files[path] != now.digest
    folder = path.rpartition("/")[0]
    if folder.endswith(".wants") or folder.startswith("/etc/runlevels/"):
        return now.kind == "file"  # a link that enables a unit is nobody's work
    return not is_ours(now.data)  # a link has no data, so it is not ours either
