"""What systemd knows about units, and the three things that lvg asks it to do.

A running systemd is asked once for all units together; below a root, or without a running systemd,
files and links are read instead.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lvg.errors import LvgError
from lvg.files import Root
from lvg.systemd import unitfiles

_SECONDS = 90.0
_SPAN = re.compile(r"([\d.]+)(us|ms|s|min|h|d|w|month|y)")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604_800}
_UNITS |= {"month": 2_629_800, "y": 31_557_600}
_PROPERTIES = (
    "Id",
    "LoadState",
    "UnitFileState",
    "UnitFilePreset",
    "ActiveState",
    "ActiveEnterTimestamp",
    "FragmentPath",
    "DropInPaths",
)


@dataclass(frozen=True)
class Unit:
    """A unit as it is now.

    `load` is loaded, masked, not-found (or systemd's word for a broken one); `enabled` what `systemctl
    is-enabled` says; `active`, and `since` (systemd's own date text), are "" where systemd does not run.
    `text` is the unit file followed by its drop-ins.
    """

    name: str
    load: str = "not-found"
    enabled: str = "not-found"
    preset: str = ""
    active: str = ""
    since: str = ""
    fragment: str = ""
    drop_ins: tuple[str, ...] = ()
    text: str = ""


def running(root: Root) -> bool:
    """True if this is the live host and systemd is its init (sd_booted(3))."""
    return root.live and root.exists("/run/systemd/system")


def units(root: Root, names: Iterable[str]) -> dict[str, Unit]:
    """Return the units by name, also those that do not exist. Raises LvgError if systemd does not answer."""
    wanted = list(dict.fromkeys(names))
    if not wanted or not running(root):
        return {name: _from_files(root, name) for name in wanted}
    shown = parse_show(_systemctl("show", f"--property={','.join(_PROPERTIES)}", "--", *wanted), wanted)
    return {name: _from_show(root, name, shown[name]) for name in wanted}


def parse_show(output: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the properties of each unit from the output of `systemctl show NAME...`.

    systemd answers in the order of the question, a blank line between two units. An alias is answered
    under another Id, so the order counts and not the Id. Raises LvgError if the numbers differ.
    """
    wanted = list(names)
    blocks = [block for block in output.split("\n\n") if block.strip()]
    if len(blocks) != len(wanted):
        raise LvgError(f"systemctl answered for {len(blocks)} of {len(wanted)} units", "Look at: systemctl --failed")
    return {name: dict(_pairs(block)) for name, block in zip(wanted, blocks, strict=True)}


def _pairs(block: str) -> Iterator[tuple[str, str]]:
    for line in block.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            yield key, value


def _from_show(root: Root, name: str, shown: Mapping[str, str]) -> Unit:
    load = shown.get("LoadState", "not-found")
    fragment = shown.get("FragmentPath", "")
    dropins = tuple(shown.get("DropInPaths", "").split())
    return Unit(
        name=name,
        load=load,
        enabled=shown.get("UnitFileState", "") or ("masked" if load == "masked" else "not-found"),
        preset=shown.get("UnitFilePreset", ""),
        active=shown.get("ActiveState", ""),
        since=shown.get("ActiveEnterTimestamp", ""),
        fragment=fragment,
        drop_ins=dropins,
        text=unitfiles.text(root, fragment, dropins) if load == "loaded" else "",
    )


def _from_files(root: Root, name: str) -> Unit:
    fragment = unitfiles.fragment(root, name)
    if not fragment:
        return Unit(name)
    preset = unitfiles.preset(root, name)
    enabled = unitfiles.enablement(root, name)
    if enabled.startswith("masked"):
        return Unit(name, "masked", enabled, preset, fragment=fragment)
    dropins = unitfiles.drop_ins(root, name)
    text = unitfiles.text(root, fragment, dropins)
    return Unit(name, "loaded", enabled, preset, fragment=fragment, drop_ins=dropins, text=text)


def properties(names: Iterable[str], wanted: Iterable[str], seconds: float) -> dict[str, dict[str, str]]:
    """Return properties of units as the running systemd has them, in one question that may take `seconds`.

    Raises LvgError if systemd does not answer.
    """
    asked = list(dict.fromkeys(names))
    if not asked:
        return {}
    keys = ",".join(dict.fromkeys(["Id", *wanted]))
    return parse_show(_systemctl("show", f"--property={keys}", "--", *asked, seconds=seconds), asked)


def span(text: str) -> float | None:
    """Return a time span of systemd's in seconds ("1min 30s", systemd.time(7)); None for infinity or no span."""
    words = [_SPAN.fullmatch(word) for word in text.split()]
    if not words or None in words:
        return None
    return sum(float(word[1]) * _UNITS[word[2]] for word in words if word)


def vendor_unit(root: Root, name: str) -> str:
    """Return the path of a unit that a distro package installed, or ""; /etc plays no part."""
    return unitfiles.vendor_fragment(root, name)


def daemon_reload() -> None:
    """Make systemd read its unit files again. Raises LvgError with systemd's own words."""
    _systemctl("daemon-reload")


def start(unit: str) -> None:
    """Start a unit and wait for it. Raises LvgError with systemd's own words."""
    _systemctl("start", "--", unit)


def system_state() -> str:
    """Return running, degraded, starting, stopping, maintenance, ... or "unknown"."""
    return _run("is-system-running").stdout.strip() or "unknown"


def _systemctl(*words: str, seconds: float = _SECONDS) -> str:
    done = _run(*words, seconds=seconds)
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit {done.returncode}"
        raise LvgError(f"systemctl {words[0]}: {said}", f"Look at: systemctl status {words[-1]}")
    return done.stdout


def _run(*words: str, seconds: float = _SECONDS) -> "subprocess.CompletedProcess[str]":
    command = ["systemctl", "--no-pager", "--no-ask-password", *words]
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            check=False,
        )
    except FileNotFoundError:
        raise LvgError("systemctl is not installed", "Install systemd, or use --root.") from None
    except subprocess.TimeoutExpired:
        what = f"systemctl {words[0]} did not answer in {seconds:.0f} s"
        raise LvgError(what, "Look at: systemctl list-jobs") from None
