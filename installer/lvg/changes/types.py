"""The wish, and the changes that fulfil it: computed once, printed by --dry-run, executed by apply."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from lvg.changes.net import Net
from lvg.filestate import FileState
from lvg.profiles import Profile
from lvg.record import Record

Action = Literal["write", "remove", "enable", "disable", "start", "reload"]
Delivery = Literal["edit", "overlay"]


@dataclass(frozen=True)
class Wish:
    """What the command line asks for, and nothing that it does not."""

    keep: bool = False
    overlay: bool = False
    force: bool = False
    enable: bool = True
    start: bool = True
    distro: str = ""
    config_file: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileChange:
    """One path that becomes something else. Enabling a unit is such a change: a link comes."""

    action: Action
    path: str
    before: FileState
    after: FileState
    reason: str
    unit: str = ""


class UnitAct(NamedTuple):
    """A call of systemctl, or of an init script: only daemon-reload and start; nothing of ours ever stops a unit."""

    action: Literal["start", "reload"]
    unit: str
    reason: str


class Conflict(NamedTuple):
    """Why the run is refused without --force: what, and what to do about it."""

    what: str
    todo: str
    diff: str = ""


@dataclass(frozen=True)
class Changes:
    """Everything that one run does to the host, in this order: files, then unit acts, then the record.

    `unchanged` are settings files that are as wished already; `net` is what libvirt-guests itself will do.
    """

    profile: Profile
    delivery: Delivery
    files: tuple[FileChange, ...]
    acts: tuple[UnitAct, ...]
    conflicts: tuple[Conflict, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    record: Record
    net: Net
    unchanged: tuple[FileChange, ...]
    remember: bool

    @property
    def changed(self) -> bool:
        """True if the host is not yet as wished."""
        return bool(self.files or self.acts or self.remember)
