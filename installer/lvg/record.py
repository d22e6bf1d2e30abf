"""The record of the last apply, /var/lib/lvg/applied.json: what lvg owns on this host.

It is written last. Whatever is in it was verified on the host, or the run was undone.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from lvg.errors import LvgError
from lvg.files import Root
from lvg.layout import RECORD


@dataclass(frozen=True)
class Record:
    """What was applied. Paths are inside the root; `files` and `covered` hold SHA-256 digests.

    `config_file` is the file that counted, `settings_path` the one that holds our settings (it, what it links
    to, or the overlay); `asked_distro` and `asked_config` are what --distro and --config-file said.
    `net` is systemd's word for how libvirt-guests.service was loaded then (masked: somebody forced it).
    `settings` are the keys we own, in the file's own dialect; `kept` are the admin's, left alone by
    --keep; `inherited` are settings of ours that stand in the admin's own text since it was edited.
    `modes` are mode and owner of the files that are all ours.
    """

    version: str
    when: str
    profile: str
    summary: str
    command: tuple[str, ...]
    delivery: str
    config_file: str
    settings_path: str
    asked_distro: str
    asked_config: str
    dialect: str
    init: str
    net: str
    program: str
    protect: bool
    enable: bool
    start: bool
    live: bool
    settings: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    inherited: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    covered: str = ""

    def same_wish_as(self, other: "Record") -> bool:
        """True if nothing but the time of the run and the words that asked for it differ."""
        mine, theirs = (dataclasses.replace(record, when="", command=()) for record in (self, other))
        return mine == theirs


def dump(record: Record) -> bytes:
    """Return the record as the bytes of applied.json."""
    about = "What lvg applied to this host. Undo it with: lvg remove"
    return json.dumps({"about": about, "schema": 1, **dataclasses.asdict(record)}, indent=1).encode() + b"\n"


def load(root: Root) -> Record | None:
    """Return the record of the last apply, or None. Raises LvgError if it is damaged or newer."""
    data = root.read(RECORD)
    if data is None:
        return None
    try:
        found: dict[str, Any] = json.loads(data)
        if found.pop("schema") != 1:
            raise LvgError(f"{RECORD} was written by a newer lvg", "Use that version of lvg.")
        found.pop("about", None)
        found["command"] = tuple(found["command"])
        known = {entry.name for entry in dataclasses.fields(Record)}
        return Record(**{key: value for key, value in found.items() if key in known})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{RECORD} is damaged: {type(error).__name__} {error}"
        raise LvgError(what, "lvg remove --force undoes everything from the checkpoints alone.") from None
