"""What a profile gives up where the admin's own settings of libvirt-guests are kept. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from lvg.profiles.policyfile import Profile, boot_means, origin_key, shutdown_means, wanted

_ALL = 'action = "none", boot = "ignore"'


def yield_to(profile: Profile, kept: Mapping[str, str]) -> tuple[Profile, tuple[str, ...]]:
    """Return the profile as it is where the admin's own `kept` settings stay, and what was given up for them.

    A kept ON_SHUTDOWN that wants something else than stopvm would do, or a kept ON_BOOT=start, leaves all to
    libvirt-guests (it starts only guests that it stopped itself). A kept ON_BOOT=ignore forbids only the start,
    and nothing where the profile says ON_BOOT=ignore too: there it means that stopvm starts them instead.
    """
    notes: list[str] = []
    if _contradicts_shutdown(profile, kept):
        boot = boot_means(kept.get("ON_BOOT", profile.settings.get("ON_BOOT", "")))
        back = "and starts them again" if boot == "start" else "and nothing starts them at boot"
        notes.append(_note("ON_SHUTDOWN", kept, f"{_ALL}: libvirt-guests stops guests {back}"))
    if _starts_against(profile, kept):
        notes.append(_note("ON_BOOT", kept, f"{_ALL}: libvirt-guests stops and starts guests"))
    if notes:
        return _given_up(profile, {"action": "none", "boot": "ignore"}), tuple(notes)
    if _ignores_against(profile, kept):
        notes.append(_note("ON_BOOT", kept, 'boot = "ignore": no guest is started at boot'))
        return _given_up(profile, {"boot": "ignore"}), tuple(notes)
    return profile, ()


def _note(key: str, kept: Mapping[str, str], so: str) -> str:
    return f"{key}={kept[key]} is kept, so {so}."


def _contradicts_shutdown(profile: Profile, kept: Mapping[str, str]) -> bool:
    if "ON_SHUTDOWN" not in kept:
        return False
    other = "save" if shutdown_means(kept["ON_SHUTDOWN"]) == "shutdown" else "shutdown"
    return profile.stop["action"] == other or (profile.stop["action"] == "none" and other in wanted(profile, "action"))


def _starts_against(profile: Profile, kept: Mapping[str, str]) -> bool:
    if not _disagrees(profile, kept, "start"):
        return False
    return wanted(profile, "action") != {"none"} or profile.stop["boot"] == "restore"


def _ignores_against(profile: Profile, kept: Mapping[str, str]) -> bool:
    return _disagrees(profile, kept, "ignore") and profile.stop["boot"] == "restore"


def _disagrees(profile: Profile, kept: Mapping[str, str], meaning: str) -> bool:
    """True if the kept ON_BOOT has this meaning and the profile's own has not."""
    own = profile.settings.get("ON_BOOT")
    return "ON_BOOT" in kept and boot_means(kept["ON_BOOT"]) == meaning and (own is None or boot_means(own) != meaning)


def _given_up(profile: Profile, instead: Mapping[str, str]) -> Profile:
    """Return the profile with `instead` in force for every guest, also for those with rules of their own."""
    rules = tuple(
        replace(rule, values={key: value for key, value in rule.values.items() if key not in instead})
        for rule in profile.guests
    )
    gone = {origin_key(rule.match, key) for rule in profile.guests for key in instead}
    origin = {key: place for key, place in profile.origin.items() if key not in gone}
    return replace(
        profile,
        stop={**profile.stop, **instead},
        guests=tuple(rule for rule in rules if rule.values),
        origin={**origin, **dict.fromkeys(instead, "--keep")},
    )
