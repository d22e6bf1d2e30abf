"""Commands to paste: a guest's name, whatever it is, stays one word of them. Pure."""

from __future__ import annotations

import shlex

from lvg.doctor.installed import again
from lvg.doctor.types import HostFacts
from lvg.guests import Guest
from lvg.tomltext import match, quoted


def virsh(uri: str, *words: str) -> str:
    """Return a command of virsh's."""
    return shlex.join(["virsh", *([] if uri == "default" else ["-c", uri]), *words])


def tell(guest: Guest, verb: str, *words: str) -> str:
    """Return a command of virsh's about one guest."""
    return virsh(guest.uri, verb, _called(guest), *words)


def _called(guest: Guest) -> str:
    """Return what virsh takes for this guest and nothing else: a name of digits may be another guest's id."""
    plain = guest.name.isprintable() and not guest.name.isdecimal() and not guest.name.startswith("-")
    return guest.name if plain or not guest.uuid else guest.uuid


def rule(facts: HostFacts, guest: Guest, values: str) -> str:
    """Return how one guest gets other values than the rest; `values` are lines of TOML."""
    record = facts.survey.record
    profile = record.profile if record else "graceful"
    where = f"{quoted(f'/etc/lvg/profiles/{profile}.toml')} (extends = {quoted(profile)})"
    return f"{again(facts.survey)}  # with [[guest]], {match(guest.name)}, {values} in {where}"
