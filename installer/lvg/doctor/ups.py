"""What NUT and apcupsd are told, and what upsc says: for how long a UPS has power when it orders a shutdown."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lvg.stopvm.programs import trusted

NUT = ("/etc/nut", "/etc/ups")  # the latter on Fedora, EL and SUSE
APC = "/etc/apcupsd"
FILES = (
    *(f"{folder}/{name}" for folder in NUT for name in ("upsmon.conf", "ups.conf", "upssched.conf", "upssched-cmd")),
    *(f"{APC}/{name}" for name in ("apcupsd.conf", "apccontrol", "doshutdown")),
)
_FINAL_DELAY = 5.0  # seconds between upsmon's decision and its command (upsmon.conf(5))
_LATE = 10.0  # percent: with less the battery's level is the last resort, and the minutes come first
_HOST = 30.0  # seconds that the host takes behind its guests
_KEYS = ("runtime.low", "runtime", "charge", "charge.low")
_APC_LINE = re.compile(r'^\s*([A-Z]+)\s+"?(.*?)"?\s*$')
_FASTER = "Or stop faster: lvg-install --profile ups"


@dataclass(frozen=True)
class Supply:
    """A UPS that decides when the host goes down. `seconds`: how long it has power from then on.

    `early`: something else may order the shutdown before the battery is that low. `where` is what says so, `remedy`
    what gives the guests more time.
    """

    name: str
    seconds: float
    where: str
    remedy: str
    early: bool = False


def read(files: Mapping[str, str], seconds: float = 1.0) -> dict[str, dict[str, str]]:
    """Ask upsc for the variables of each UPS of upsmon.conf; one that does not answer in time is left out."""
    end, found = time.monotonic() + seconds, {}
    for name in systems(files):
        if text := _upsc(name, end - time.monotonic()):
            pairs = (line.partition(": ") for line in text.splitlines())
            found[name] = {key: value.strip() for key, colon, value in pairs if colon}
    return found


def _upsc(name: str, seconds: float) -> str:
    try:
        done = subprocess.run(
            [trusted("upsc"), name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=max(seconds, 0.01),
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def systems(files: Mapping[str, str]) -> list[str]:
    """Return the UPSes that power this host: MONITOR SYSTEM POWERVALUE USER PASSWORD TYPE (upsmon.conf(5))."""
    words = [line.split() for _, line in lines(files, "upsmon.conf")]
    monitors = [each for each in words if each[0] == "MONITOR" and each[3:]]
    return [each[1] for each in monitors if each[2] != "0" and not each[1].startswith("-")]


def lines(files: Mapping[str, str], name: str, folders: Iterable[str] = NUT) -> Iterator[tuple[str, str]]:
    """Yield PATH:NUMBER and the text of each line that counts in a file of this name."""
    for folder in folders:
        for number, line in enumerate(files.get(f"{folder}/{name}", "").splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield f"{folder}/{name}:{number}", line.strip()


def nut(files: Mapping[str, str], said: Mapping[str, Mapping[str, str]], worst: float) -> Supply | None:
    """Return the UPS of upsmon.conf that lasts longest; None if that is not known of any."""
    found = [_nut(files, name, said.get(name, {}), worst) for name in systems(files)]
    return max((each for each in found if each), key=lambda each: each.seconds, default=None)


def _nut(files: Mapping[str, str], system: str, said: Mapping[str, str], worst: float) -> Supply | None:
    """A driver says "low battery" at battery.runtime.low seconds, or at battery.charge.low percent (ups.conf(5))."""
    name = system.partition("@")[0]
    known = {**said, **_overrides(files, name)}
    shown = {key: known[f"battery.{key}"] for key in _KEYS if f"battery.{key}" in known}
    left = _left(*(number(shown.get(key)) for key in _KEYS))
    if left is None:
        return None
    words = [line.split() for _, line in lines(files, "upsmon.conf")]
    wait = next((number(each[1]) for each in words if each[0] == "FINALDELAY" and each[1:]), None)
    wait = _FINAL_DELAY if wait is None else wait
    where = ", ".join([*(f"battery.{key}: {value}" for key, value in shown.items()), f"FINALDELAY {wait:g}"])
    remedy = f"In ups.conf below [{name}]: ignorelb and override.battery.runtime.low = {worst + wait + _HOST:.0f}; "
    remedy += f"then: systemctl restart nut-driver@{name}. {_FASTER}"
    timers = any(line.startswith("AT ") and "START-TIMER" in line for _, line in lines(files, "upssched.conf"))
    return Supply(system, left - wait, where, remedy, timers)


def _left(low: float | None, runtime: float | None, charge: float | None, least: float | None) -> float | None:
    """Return the seconds left when the driver says "low battery", None if neither mark is known."""
    by_charge = runtime * least / charge if runtime and charge and least else None
    return max((each for each in (low, by_charge) if each is not None), default=None)


def _overrides(files: Mapping[str, str], name: str) -> dict[str, str]:
    """Return what ups.conf says in place of the UPS of this name."""
    section, found = "", {}
    for _, line in lines(files, "ups.conf"):
        if line.startswith("["):
            section = line.strip("[] \t")
        key, equals, value = line.partition("=")
        if equals and section == name and key.startswith("override."):
            found[key.strip().removeprefix("override.")] = value.strip().strip('"')
    return found


def number(text: str | None) -> float | None:
    """Return a number; None for none, and for less than 0, which means "off"."""
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) else None


def apc(files: Mapping[str, str], worst: float) -> Supply | None:
    """Return apcupsd's: it acts at MINUTES, BATTERYLEVEL or TIMEOUT, whichever is first (apcupsd.conf(5))."""
    matches = [_APC_LINE.match(line) for _, line in lines(files, "apcupsd.conf", (APC,))]
    found = {match[1]: match[2] for match in matches if match}
    minutes = number(found.get("MINUTES"))
    if minutes is None or found.get("UPSTYPE") == "dumb":
        return None
    early = bool(number(found.get("TIMEOUT"))) or (number(found.get("BATTERYLEVEL")) or 0.0) > _LATE
    needed, path = -(-(worst + _HOST) // 60), f"{APC}/apcupsd.conf"
    remedy = f"sed -i 's/^MINUTES .*/MINUTES {needed:.0f}/' {path}; systemctl restart apcupsd. {_FASTER}"
    return Supply(found.get("UPSNAME") or "apcupsd", minutes * 60, f"{path}: MINUTES {minutes:g}", remedy, early)
