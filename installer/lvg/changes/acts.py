"""What the init is asked to do: start what must be active, read changed units. Never to stop or restart anything."""

from collections.abc import Iterable, Mapping

from lvg import openrc, units
from lvg.changes.net import Net
from lvg.changes.types import FileChange, UnitAct, Wish
from lvg.filestate import ABSENT, FileState
from lvg.layout import GUEST_LIST, OPENRC_LIST, touches_units
from lvg.survey import Survey

RUNNING = ("active", "activating", "reloading")


def starts(wish: Wish, survey: Survey) -> tuple[UnitAct, ...]:
    """Return the units to start: those that must be active before a shutdown begins, and are not."""
    if not wish.start or not survey.running or survey.host.init != "systemd":
        return ()
    net, ours = survey.units[units.GUESTS], survey.units[units.SHUTDOWN]
    found = []
    if net.load == "loaded" and net.active not in RUNNING:
        found.append(UnitAct("start", units.GUESTS, "only a started unit acts at shutdown"))
    if ours.active not in RUNNING:
        found.append(UnitAct("start", units.SHUTDOWN, "only a started unit acts at shutdown"))
    return tuple(found)


def openrc_starts(wish: Wish, survey: Survey, net: Net) -> tuple[UnitAct, ...]:
    """Return the services to start under OpenRC; libvirt-guests is not, if that would boot guests on an old list."""
    if not wish.start or not survey.openrc or survey.host.init != "openrc":
        return ()
    names = [name for name in (openrc.GUESTS, openrc.SERVICE) if name not in survey.started]
    if not survey.host.service.installed or openrc_list_waits(survey, net):
        names = [name for name in names if name != openrc.GUESTS]
    return tuple(UnitAct("start", name, "only a started service acts at shutdown") for name in names)


def openrc_list_waits(survey: Survey, net: Net) -> bool:
    """True if a start of OpenRC's libvirt-guests would boot guests on a list of an earlier stop."""
    lists = [survey.state(path) for path in (OPENRC_LIST, GUEST_LIST)]
    return openrc.GUESTS not in survey.started and net.boot == "start" and any(state.data for state in lists)


def moved_list(survey: Survey, acts: Iterable[UnitAct]) -> dict[str, FileState]:
    """Starting libvirt-guests with ON_BOOT=start boots every guest on an old list, so the list goes first."""
    starts_net = any(act.unit == units.GUESTS for act in acts)
    return {GUEST_LIST: ABSENT} if starts_net and survey.state(GUEST_LIST).kind != "absent" else {}


def list_notes(survey: Survey, moved: Mapping[str, FileState]) -> tuple[str, ...]:
    """Return what to say of a list that is moved."""
    if not moved:
        return ()
    guests = ", ".join(survey.waiting_guests) or "no guest"
    return (f"an old list of libvirt-guests goes into the checkpoint, so that starting it starts nothing: {guests}",)


def reload(survey: Survey, files: Iterable[FileChange]) -> tuple[UnitAct, ...]:
    """Return the reload that changed unit files need."""
    touched = touches_units(change.path for change in files)
    return (UnitAct("reload", "", "systemd reads the changed units"),) if touched and survey.running else ()
