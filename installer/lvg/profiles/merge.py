"""Profiles: named TOML files, merged with what they extend and with --set, and checked as a whole.

Values come from, each one beating those before: the defaults, the deepest base, the profile, --set.
Tables merge key by key; the [[guest]] rules of a base stand before those of what extends it.
"""

from collections.abc import Sequence
from dataclasses import replace

from lvg.errors import LvgError, UsageError
from lvg.files import Root
from lvg.profiles import locate as profilefiles
from lvg.profiles import needs
from lvg.profiles.layers import Layer, layer, set_layer
from lvg.profiles.policyfile import (
    Profile,
    Row,
    Rule,
    compile_policy,
    explain,
    origin_key,
    worst_case_seconds,
)
from lvg.profiles.yielding import yield_to
from lvg.settings import SETTINGS
from lvg.stoppolicy import STOP_KEYS, Value, defaults, names_of, number_of

__all__ = [
    "Profile",
    "Row",
    "Rule",
    "available",
    "compile_policy",
    "explain",
    "load",
    "merge",
    "worst_case_seconds",
    "yield_to",
]

DEFAULT = "default"


def load(name_or_path: str, root: Root, sets: Sequence[str] = ()) -> Profile:
    """Return the profile, complete. A word with a slash or ending in .toml is the path of a caller's file.

    `sets` are the KEY=VALUE words of --set. Raises UsageError for anything wrong in the profile or in `sets`,
    with the file (or --set) and the key; LvgError for a file that cannot be read.
    """
    documents = profilefiles.chain(name_or_path, root)
    layers = [layer(document) for document in documents]
    if sets:
        layers.append(set_layer(sets))
    source = documents[-1].source
    files = tuple(
        str(document.source.path) if document.source.kind == "shipped" else document.source.label
        for document in documents
    )
    return merge(source.name, layers, files)


def available(root: Root) -> tuple[Profile, ...]:
    """Return all profiles of this host by name. One that cannot be used is there too, with `broken` set."""
    return tuple(_or_broken(name, root) for name in profilefiles.names(root))


def _or_broken(name: str, root: Root) -> Profile:
    try:
        return load(name, root)
    except LvgError as error:
        return Profile(name, "", {}, {}, (), {}, (), broken=error.what)


def merge(name: str, layers: Sequence[Layer], files: tuple[str, ...] = ()) -> Profile:
    """Merge layers, the deepest base first, and check what only the whole can show. Pure; raises UsageError."""
    settings = {key: each.settings[key] for key in SETTINGS for each in layers if key in each.settings}
    stop = defaults()
    origin = dict.fromkeys((*settings, *STOP_KEYS), DEFAULT)
    for each in layers:
        stop |= each.stop
        origin |= dict.fromkeys((*each.settings, *each.stop), each.label)
        origin |= {origin_key(rule.match, key): each.label for rule in each.guests for key in rule.values}
    summaries = [each.summary for each in layers if each.summary is not None]
    guests = tuple(rule for each in layers for rule in each.guests)
    whole = Profile(name, summaries[-1] if summaries else "", settings, stop, guests, origin, files)
    return _checked(whole)


def _checked(profile: Profile) -> Profile:
    """Return the profile with the default timeout cut to the budget; refuse what contradicts itself."""
    needing = [rule for rule in profile.guests if "needs" in rule.values]
    ring = needs.circle([(rule.match, names_of(rule.values["needs"])) for rule in needing])
    if ring:
        places = dict.fromkeys(rule.origin for rule in needing)
        todo = f'Let one of them need less: a later [[guest]] rule with match = "{ring[0]}" and its own needs.'
        raise UsageError(f"{', '.join(places)}: needs goes in a circle: {' needs '.join(ring)}.", todo)
    budget = number_of(profile.stop["budget"])
    if profile.origin["timeout"] == DEFAULT:
        profile = replace(profile, stop={**profile.stop, "timeout": min(number_of(profile.stop["timeout"]), budget)})
    _check_time(profile, profile.origin["timeout"], "timeout", profile.stop["timeout"])
    for rule in profile.guests:
        if "timeout" in rule.values:
            _check_time(profile, rule.origin, f"guest {rule.match}: timeout", rule.values["timeout"])
    return profile


def _check_time(profile: Profile, where: str, key: str, timeout: Value) -> None:
    """Refuse a guest that could never get its time. A budget is never raised in silence: a UPS may hang on it."""
    budget = profile.stop["budget"]
    if number_of(timeout) <= number_of(budget):
        return
    limit = f"budget = {budget} ({profile.origin['budget']}), the time for all guests"
    what = f"{where}: {key} = {timeout} is more than {limit}."
    raise UsageError(what, f"Raise budget to {timeout} or more, or lower the timeout.")
