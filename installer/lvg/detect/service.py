"""The installed libvirt-guests: its unit or init script, the program that this runs, and its state."""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from lvg.detect import inits
from lvg.detect.libvirtversion import libvirt_version
from lvg.files import Root
from lvg.settings import OPENRC_KEYS, SETTINGS
from lvg.systemd import Unit, directives, unitfiles, vendor_unit

GUESTS = "libvirt-guests"
GUESTS_UNIT = f"{GUESTS}.service"
_INIT_SCRIPT = f"/etc/init.d/{GUESTS}"
_SCRIPTS = (f"/usr/libexec/{GUESTS}.sh", f"/usr/lib/libvirt/{GUESTS}.sh", f"/usr/lib/{GUESTS}.sh")


@dataclass(frozen=True)
class Service:
    """The libvirt-guests service: `unit` is its unit file or init script, `script` what that runs.

    `enabled`, `active`, `preset` and `since` are systemd's words, or those of `inits` without systemd.
    `keys` are the settings that the installed script knows, `version` is that of libvirt ("" if not found).
    """

    installed: bool = False
    unit: str = ""
    script: str = ""
    enabled: str = "not-found"
    active: str = ""
    preset: str = ""
    since: str = ""
    version: str = ""
    keys: frozenset[str] = frozenset()


class Installed(NamedTuple):
    """The texts that were found under one init; all empty if libvirt-guests is not installed.

    `unit` is systemd's, `entry` the path of the init script elsewhere; `script` is the path of what either
    runs in the end, and `text` what stands there.
    """

    init: str
    unit: Unit
    entry: str = ""
    script: str = ""
    text: str = ""

    @property
    def keys(self) -> frozenset[str]:
        """The settings that this libvirt-guests knows: those that its script names."""
        return frozenset(re.findall(r"[A-Z][A-Z_]+", self.text)) & {*SETTINGS, *OPENRC_KEYS}

    @property
    def dialect(self) -> str:
        """Which keys it speaks: upstream, openrc, or "" if the text does not tell."""
        if self.keys & set(OPENRC_KEYS):
            return "openrc"
        return "upstream" if self.keys else ""


def find(root: Root, init: str, unit: Unit) -> Installed:
    """Return what this init would run as libvirt-guests. `unit` is systemd's, empty elsewhere."""
    if init == "systemd":
        unit = _as_packaged(root, unit)
        script = _first(root, _programs(unit)) if unit.text else ""
        return Installed(init, unit, "", script, (root.text(script) or "") if script else "")
    entry = root.text(_INIT_SCRIPT)
    if entry is None:
        return Installed(init, unit)
    behind = re.search(rf"^\s*exec\s+(\S*{GUESTS}\S*)", entry, re.MULTILINE)
    script = (_first(root, [behind[1]]) if behind else "") or _INIT_SCRIPT
    return Installed(init, unit, _INIT_SCRIPT, script, root.text(script) or "")


def _as_packaged(root: Root, unit: Unit) -> Unit:
    """Return a masked unit with the text that its package installed: it is there all the same."""
    if unit.load == "loaded":
        return unit
    path = vendor_unit(root, unit.name)
    return replace(unit, fragment=path, text=unitfiles.text(root, path, ()))


def _programs(unit: Unit) -> list[str]:
    commands = [line for key in ("ExecStop", "ExecStart") for line in directives(unit.text, "Service", key)]
    named = [command.lstrip("-@:+!").partition(" ")[0] for command in commands]
    # An admin's own ExecStop= beside the packaged one is not the script that reads the settings.
    return [*(path for path in named if GUESTS in path), *_SCRIPTS]


def _first(root: Root, paths: list[str]) -> str:
    return next((path for path in paths if path.startswith("/") and root.exists(path)), "")


def describe(root: Root, found: Installed) -> Service:
    """Return what people want to know about the service."""
    version = libvirt_version(root)
    if found.init == "systemd":
        unit = found.unit
        return Service(
            installed=bool(unit.fragment),
            unit=unit.fragment,
            script=found.script,
            enabled=unit.enabled,
            active=unit.active,
            preset=unit.preset,
            since=unit.since,
            version=version,
            keys=found.keys,
        )
    if not found.entry:
        return Service(version=version)
    enabled = "enabled" if GUESTS in inits.enabled_scripts(root) else "disabled"
    active = inits.script_activity(root, found.init, GUESTS)
    return Service(True, found.entry, found.script, enabled, active, version=version, keys=found.keys)
