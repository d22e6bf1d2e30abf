"""The file of libvirt-guests: whether it says what it seems to say; and whether libvirt answers at its URIs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lvg import envfile, settings
from lvg.doctor.installed import again, in_charge
from lvg.doctor.remedies import virsh
from lvg.doctor.types import Check, Finding, HostFacts, Settings
from lvg.errors import LvgError
from lvg.guests import running
from lvg.survey import Survey

# Wrong values of these leave guests running, or without a limit; the others only change details.
_VITAL = frozenset(("URIS", "ON_SHUTDOWN", "SHUTDOWN_TIMEOUT", "LIBVIRT_URIS", "LIBVIRT_SHUTDOWN", "LIBVIRT_MAXWAIT"))
_LIMIT = 29 * 60  # systemd's own units cut a shutdown off after 30 minutes (JobTimeoutSec= of poweroff.target)


def read(survey: Survey) -> Settings:
    """Let sh read the file that counts: the overlay, if there is one."""
    path = survey.record.settings_path if survey.record else survey.config_path
    data = survey.state(path).data
    try:
        found = envfile.sh_values(data, _keys(survey))
    except LvgError as error:
        return Settings(path, data, {}, error.what, error.todo)
    return Settings(path, data, {key: value for key, value in found.items() if value is not None})


def _keys(survey: Survey) -> tuple[str, ...]:
    return settings.OPENRC_KEYS if survey.host.dialect == "openrc" else tuple(settings.SETTINGS)


def _effective(facts: HostFacts, key: str) -> str:
    """Return the value in force: the file's, else the script's own default, else upstream's."""
    script = facts.files.get(facts.survey.host.service.script, "")
    own = re.search(rf"^{key}=[\"']?([^\"'\s]*)", script, re.MULTILINE)
    return facts.settings.values.get(key) or (own[1] if own else settings.SETTINGS[key].builtin)


def _file_is_known(facts: HostFacts) -> Iterator[Finding]:
    host = facts.survey.host
    if not host.service.installed:
        return
    if not host.config_file:
        what = "nothing on this host tells which file libvirt-guests reads"
        yield Finding("B1", "failure", what, "lvg-install --config-file PATH names it.")
    for text in host.disagreements:
        yield Finding("B1", "warning", text, "lvg detect shows the evidence; remove what is not read.")


def _sh_reads_it(facts: HostFacts) -> Iterator[Finding]:
    path, broken = facts.settings.path, facts.settings.broken
    if broken:
        yield Finding("B2", "failure", f"{path}: {broken}", facts.settings.todo, path)
        return
    for remark in envfile.without_effect(facts.settings.data, _keys(facts.survey)):
        yield Finding("B2", "failure", f"{path}: {remark}", "Write it as KEY=value, without blanks.", path)


def _values_are_legal(facts: HostFacts) -> Iterator[Finding]:
    for text in settings.problems(facts.survey.host.dialect, facts.settings.values):
        vital = text.partition("=")[0] in _VITAL
        remedy = f"Mend it in {facts.settings.path}; libvirt-guests(8) says what is allowed."
        yield Finding("B3", "failure" if vital else "warning", text, remedy, facts.settings.path)


def _nothing_odd(facts: HostFacts) -> Iterator[Finding]:
    path, keys = facts.settings.path, _keys(facts.survey)
    worse = envfile.without_effect(facts.settings.data, keys)
    for remark in envfile.notes(facts.settings.data, keys):
        if remark not in worse:
            yield Finding("B4", "warning", f"{path}: {remark}", f"Look at {path}.", path)


def _there_is_a_limit(facts: HostFacts) -> Iterator[Finding]:
    if _shuts_down(facts) and _effective(facts, "SHUTDOWN_TIMEOUT") == "0":
        what = "SHUTDOWN_TIMEOUT=0: libvirt-guests waits for one deaf guest until systemd cuts off all"
        yield Finding("B5", "failure", what, f"Set SHUTDOWN_TIMEOUT=240 in {facts.settings.path}.", facts.settings.path)


def _shuts_down(facts: HostFacts) -> bool:
    return facts.survey.host.dialect == "upstream" and _effective(facts, "ON_SHUTDOWN") == "shutdown"


def _net_is_quick(facts: HostFacts) -> Iterator[Finding]:
    guests, timeout, parallel = (
        len(running(facts.answers)),
        _effective(facts, "SHUTDOWN_TIMEOUT"),
        _effective(facts, "PARALLEL_SHUTDOWN"),
    )
    if not _shuts_down(facts) or parallel not in ("0", "1") or not timeout.isdecimal():
        return
    seconds = int(timeout) * guests
    if guests > 1 and seconds > _LIMIT:
        what = f"libvirt-guests shuts one guest down after another: {guests} guests may take {seconds} s"
        yield Finding(
            "B6", "warning", what, f"Set PARALLEL_SHUTDOWN=100 in {facts.settings.path}.", facts.settings.path
        )


def _net_can_save(facts: HostFacts) -> Iterator[Finding]:
    """Only for guests that stopvm leaves to libvirt-guests; upstream's script takes every other word for suspend."""
    if facts.survey.host.dialect != "upstream" or _shuts_down(facts):
        return
    for guest in running(facts.answers):
        left = not in_charge(facts) or facts.policy.for_guest(guest.name).action == "none"
        if left and guest.cannot_save:
            what = f"libvirt-guests cannot save it: {guest.cannot_save[0]}"
            remedy = "Set ON_SHUTDOWN=shutdown, or apply a profile that shuts guests down."
            yield Finding("B7", "failure", what, remedy, "; ".join(guest.cannot_save), guest.name)


def _libvirt_answers(facts: HostFacts) -> Iterator[Finding]:
    for answer in facts.answers:
        if answer.error:
            what = f"libvirt at {answer.uri} does not answer: {answer.error}"
            yield Finding("B8", "failure", what, virsh(answer.real or answer.uri, "list"), answer.error)


def _explicit(facts: HostFacts) -> Iterator[Finding]:
    if facts.survey.host.dialect != "upstream" or not facts.survey.host.service.installed:
        return
    for key in ("ON_BOOT", "ON_SHUTDOWN"):
        if key not in facts.settings.values:
            what = f"{key} is not set: this release's default is {_effective(facts, key)}, another's may differ"
            yield Finding("B9", "warning", what, again(facts.survey), facts.settings.path)


CHECKS = (
    Check("B1", "it is known which file libvirt-guests reads", _file_is_known),
    Check("B2", "sh can read that file, and each line of it does something", _sh_reads_it),
    Check("B3", "its values are legal", _values_are_legal),
    Check("B4", "no key is set twice, or misspelt", _nothing_odd),
    Check("B5", "libvirt-guests does not wait for ever", _there_is_a_limit),
    Check("B6", "libvirt-guests alone would be done in 29 minutes", _net_is_quick),
    Check("B7", "libvirt-guests can save the guests that it has to save", _net_can_save),
    Check("B8", "libvirt answers at each URI", _libvirt_answers),
    Check("B9", "what libvirt-guests does is written down, not a default", _explicit),
)
