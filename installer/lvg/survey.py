"""The survey: everything on the host that decides what has to change, read once and read only."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lvg import bundle, detect, neighbours, openrc, systemd, units
from lvg.checkpoint import Checkpoint, load_all
from lvg.detect import Host
from lvg.errors import LvgError
from lvg.files import Root
from lvg.filestate import ABSENT, FileState, capture
from lvg.layout import (
    GUEST_DEFINITIONS,
    GUEST_LIST,
    LOCAL_PROGRAM,
    OPENRC_LINK,
    OPENRC_LIST,
    OVERLAY,
    PACKAGED_PROGRAM,
    POLICY,
    STOP_LINK,
    STOP_SCRIPT,
    dropin_path,
    is_ours,
    unit_path,
)
from lvg.record import Record, load
from lvg.systemd import Unit

UNITS = (units.GUESTS, units.SHUTDOWN, units.RESTORE, units.TARGET)


@dataclass(frozen=True)
class Survey:
    """What was found. `states` holds every path that we own or may want, inside the root.

    `guests` is how many are defined, `waiting_guests` what an old list of libvirt-guests names,
    `vendor` where a distro package has put our units, `foreign_vendor` a stop unit of another package.
    `running` says that systemd runs here, `openrc` that OpenRC does; `started` are the services it has started.
    """

    host: Host
    config_path: str
    states: Mapping[str, FileState]
    units: Mapping[str, Unit]
    record: Record | None
    checkpoints: tuple[Checkpoint, ...]
    owners: tuple[str, ...]
    auto_shutdown: Mapping[str, str]
    waiting_guests: tuple[str, ...]
    guests: int
    vendor: Mapping[str, str]
    foreign_vendor: tuple[str, str] | None
    running: bool
    openrc: bool
    started: frozenset[str]
    program: bytes

    @property
    def packaged(self) -> bool:
        """True if a distro package ships our units here."""
        return bool(self.vendor)

    def state(self, path: str) -> FileState:
        """Return what a path is now; a path that was not surveyed does not exist."""
        return self.states.get(path, ABSENT)


def survey(root: Root, *, distro: str = "", config_file: str = "") -> Survey:
    """Read the host below `root`. Nothing is created or changed.

    Raises LvgError for what cannot be read and UsageError for an unknown distro id.
    """
    watch = (*UNITS, *neighbours.installed_owners(root))
    host = detect.detect(root, distro=distro, config_file=config_file, watch=watch)
    record = load(root)
    checkpoints = load_all(root)
    config_path = root.inside(root.real(host.config_file)) if host.config_file else ""
    known = {entry.path for checkpoint in checkpoints for entry in checkpoint.entries}
    found_units = {name: host.units.get(name, Unit(name)) for name in UNITS}
    return Survey(
        host=host,
        config_path=config_path,
        states=_states(root, {*known, *_own_paths(), *_link_paths(found_units), *filter(None, [config_path])}),
        units=found_units,
        record=record,
        checkpoints=checkpoints,
        owners=neighbours.owners_among(host.units) if systemd.running(root) else neighbours.other_owners(root),
        auto_shutdown=_auto_shutdown(root),
        waiting_guests=neighbours.stale_list(root),
        guests=sum(name.endswith(".xml") for name in root.listdir(GUEST_DEFINITIONS)),
        vendor=vendor_units(root),
        foreign_vendor=_foreign_vendor(root),
        running=systemd.running(root),
        openrc=openrc.running(root),
        started=openrc.started(root),
        program=bundle.program(),
    )


def survey_as_applied(root: Root) -> Survey:
    """Read the host as the last apply was told to see it; as it is if nothing was applied. Raises LvgError."""
    found = survey(root)
    record = found.record
    if record and (record.asked_config or record.asked_distro):
        return survey(root, distro=record.asked_distro, config_file=record.asked_config)
    return found


def _auto_shutdown(root: Root) -> dict[str, str]:
    """Debian's qemu.conf is for root's eyes: a dry run of another user goes on without it."""
    try:
        return neighbours.auto_shutdown(root)
    except LvgError:
        if os.geteuid() == 0:
            raise
        return {}


def vendor_units(root: Root) -> dict[str, str]:
    """Return the paths of our units where a distro package of lvg ships them; empty for a local install."""
    found = {name: systemd.vendor_unit(root, name) for name in (units.SHUTDOWN, units.RESTORE)}
    return found if all(path and is_ours(root.read(path) or b"") for path in found.values()) else {}


def _foreign_vendor(root: Root) -> tuple[str, str] | None:
    """Return path and text of a stop unit that a package other than lvg's has put there."""
    path = systemd.vendor_unit(root, units.SHUTDOWN)
    text = root.text(path) if path else None
    return None if text is None or is_ours(text.encode("utf-8", "surrogateescape")) else (path, text)


def program_path(packaged: bool) -> str:
    """Return where stopvm lies on this host."""
    return PACKAGED_PROGRAM if packaged else LOCAL_PROGRAM


def _own_paths() -> list[str]:
    dropins = [
        dropin_path(unit, name) for unit in UNITS for name in (units.DROP_IN, units.OVERLAY_DROP_IN, units.LIFT_DROP_IN)
    ]
    links = [GUEST_LIST, OPENRC_LIST, OPENRC_LINK, STOP_LINK, STOP_SCRIPT]
    return [
        LOCAL_PROGRAM,
        PACKAGED_PROGRAM,
        POLICY,
        OVERLAY,
        *links,
        unit_path(units.SHUTDOWN),
        unit_path(units.RESTORE),
        *dropins,
    ]


def _link_paths(found: Mapping[str, Unit]) -> list[str]:
    texts = {unit.name: unit.text for unit in found.values()}
    texts[units.SHUTDOWN] = units.graceful_shutdown(LOCAL_PROGRAM)
    texts[units.RESTORE] = units.graceful_restore(LOCAL_PROGRAM)
    return [link for name, text in texts.items() for link, _ in systemd.install_links(name, text, "")]


def _states(root: Root, paths: Iterable[str]) -> dict[str, FileState]:
    return {path: capture(root.real(path, follow_last=False)) for path in sorted(paths)}
