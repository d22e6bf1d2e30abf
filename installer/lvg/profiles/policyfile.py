"""A merged profile, and what follows from it: the policy that stopvm reads, the time it may take, its rows.

All pure. libvirt-guests stays enabled behind stopvm as the net, so the policy also says what the net will do.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lvg.settings import SETTINGS
from lvg.stoppolicy import STOP_KEYS, Value, number_of, shown

SCHEMA = 1
# While guests run, logind holds a shutdown back for InhibitDelayMaxSec: 5 s by default (logind.conf(5)).
LOGIND_DELAY = 5
# JobTimeoutSec= of poweroff.target and reboot.target: what still runs then is cut off (systemd's own units).
CUT_OFF = 1800

ABOUT = (
    "How stopvm stops this host's guests when the host goes down. lvg-install writes this file: change the profile, "
    "not this. Stop guests by hand: stopvm stop --now. Undo without lvg: set action to none and boot to ignore here; "
    "libvirt-guests then stops the guests alone."
)


@dataclass(frozen=True)
class Rule:
    """What holds for the guests whose name matches `match`, a name or a glob. Later rules win, key by key.

    `origin` is the file that the rule stands in.
    """

    match: str
    values: Mapping[str, Value] = field(hash=False)
    origin: str = ""


@dataclass(frozen=True)
class Profile:
    """A profile with all that it extends and all --set merged into it, checked.

    `settings`: the libvirt-guests keys it sets, as they are written. `stop`: every [stopvm] key, lists as
    tuples. `origin`: where a value comes from, by setting, key, or "guest MATCH: KEY": a file, "--set" or
    "default". `broken`: why the file cannot be used; only `available` returns such ones.
    """

    name: str
    summary: str
    settings: Mapping[str, str] = field(hash=False)
    stop: Mapping[str, Value] = field(hash=False)
    guests: tuple[Rule, ...]
    origin: Mapping[str, str] = field(hash=False)
    files: tuple[str, ...]
    broken: str = ""


class Row(NamedTuple):
    """One line of `lvg profiles NAME`; `value` is written as in the profile."""

    section: str
    key: str
    value: str
    origin: str


def origin_key(match: str, key: str) -> str:
    """Return the name under which `Profile.origin` holds a key of a guest's rule."""
    return f"guest {match}: {key}"


def explain(profile: Profile) -> tuple[Row, ...]:
    """Return every value of the merged profile with where it comes from."""
    settings = {key: value if value.isdecimal() else shown(value) for key, value in profile.settings.items()}
    rows = [Row("libvirt-guests", key, value, profile.origin[key]) for key, value in settings.items()]
    host = [key for key in profile.stop if STOP_KEYS[key].scope != "guest"]
    rows += [Row("stopvm", key, shown(profile.stop[key]), profile.origin[key]) for key in host]
    for rule in profile.guests:
        rows += [Row(f"guest {rule.match}", key, shown(value), rule.origin) for key, value in rule.values.items()]
    return tuple(rows)


def compile_policy(profile: Profile, settings_in_force: Mapping[str, str]) -> dict[str, object]:
    """Return the document for policy.json, ready for json.dumps.

    `settings_in_force` are the values that libvirt-guests will see; what it lacks is the profile's or built in.
    START_DELAY is obeyed where the profile itself says nothing about start_delay.
    """
    seen = _seen(profile, settings_in_force)
    stop = dict(profile.stop)
    if profile.origin.get("start_delay") == "default":
        stop["start_delay"] = _number(seen["START_DELAY"])
    guests = [{"match": rule.match, **rule.values} for rule in profile.guests]
    policy = {
        "about": ABOUT,
        "schema": SCHEMA,
        "profile": profile.name,
        "uris": seen["URIS"].split(),
        **stop,
        "bypass_cache": seen["BYPASS_CACHE"] != "0",
        "sync_time": seen["SYNC_TIME"] != "0",
        "persistent_only": seen["PERSISTENT_ONLY"],
        "net": {
            "on_boot": boot_means(seen["ON_BOOT"]),
            "on_shutdown": shutdown_means(seen["ON_SHUTDOWN"]),
            "shutdown_timeout": _number(seen["SHUTDOWN_TIMEOUT"]),
            "parallel": _number(seen["PARALLEL_SHUTDOWN"]),
        },
        "guests": guests,
    }
    plain: dict[str, object] = json.loads(json.dumps(policy))  # tuples become lists, as a reader of the file sees them
    return plain


def worst_case_seconds(profile: Profile, guests_left: int, settings_in_force: Mapping[str, str] | None = None) -> int:
    """Return the longest time that stopping guests may hold up the host's shutdown, in seconds.

    logind's delay + budget + the net, if `guests_left` guests are left to the net. Saving has no time limit in
    libvirt-guests and counts as none; a SHUTDOWN_TIMEOUT of 0 waits until systemd cuts everything off.
    """
    seen = _seen(profile, settings_in_force or {})
    actions = wanted(profile, "action")
    budget = number_of(profile.stop["budget"]) if actions != {"none"} else 0
    return LOGIND_DELAY + budget + _net_seconds(seen, guests_left)


def _net_seconds(seen: Mapping[str, str], guests_left: int) -> int:
    if guests_left <= 0 or shutdown_means(seen["ON_SHUTDOWN"]) == "suspend":
        return 0
    timeout = _number(seen["SHUTDOWN_TIMEOUT"])
    # In parallel the timeout is for all guests of one URI, and URIs come one after another (libvirt-guests.sh).
    rounds = min(guests_left, len(seen["URIS"].split())) if _number(seen["PARALLEL_SHUTDOWN"]) > 1 else guests_left
    return timeout * rounds if timeout else CUT_OFF


def wanted(profile: Profile, key: str) -> frozenset[Value]:
    """Return all values of a key that some guest may have: the default and those of the rules."""
    return frozenset({profile.stop[key], *(rule.values[key] for rule in profile.guests if key in rule.values)})


def _seen(profile: Profile, in_force: Mapping[str, str]) -> dict[str, str]:
    built_in = {key: setting.builtin for key, setting in SETTINGS.items()}
    return {**built_in, **profile.settings, **in_force}


def _number(text: str) -> int:
    """Return what libvirt-guests makes of a number: what is none counts as 0 (measured on 9.0.0)."""
    return int(text) if text.isascii() and text.isdecimal() else 0


def boot_means(text: str) -> str:
    """Return what ON_BOOT means: anything but "start" is "ignore" (libvirt-guests.sh)."""
    return "start" if text == "start" else "ignore"


def shutdown_means(text: str) -> str:
    """Return what ON_SHUTDOWN means: anything but "shutdown" is "suspend" (libvirt-guests.sh)."""
    return "shutdown" if text == "shutdown" else "suspend"
