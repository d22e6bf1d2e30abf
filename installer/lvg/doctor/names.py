"""The guests that the policy names: whether they are on this host, and in what order all can stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase

from lvg.doctor.installed import again
from lvg.doctor.remedies import virsh
from lvg.doctor.types import Finding, HostFacts
from lvg.guests import running
from lvg.profiles.needs import is_glob


def names_are_known(facts: HostFacts) -> Iterator[Finding]:
    """A rule for a guest of another host is no error where it is a glob; what somebody needs has to be here."""
    for wrong in facts.timeline.wrong:
        yield Finding(
            "E16", "warning", wrong, f"{again(facts.survey)}  # with that need taken out", "the order of needs"
        )
    if not facts.answers or any(answer.error for answer in facts.answers):
        return  # who is not known may be there
    known = {name for answer in facts.answers for name in answer.defined}
    known |= {guest.name for guest in running(facts.answers)}
    for name, where in dict(_named(facts, known)).items():
        if not any(fnmatchcase(each, name) for each in known):
            say = f"{json.dumps(name)} in {where} is no guest of this host"
            listing = f"{virsh(facts.answers[0].uri, 'list', '--all', '--name')}  # what the guests are called"
            yield Finding("E16", "warning", say, listing, f"profile {facts.policy.profile}")


def _named(facts: HostFacts, known: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each name in the rules and where it stands; what a rule needs counts if it is about a guest here."""
    for name in facts.policy.base.needs:
        yield name, "needs"
    for rule in facts.policy.rules:
        if not is_glob(rule.match):
            yield rule.match, "a [[guest]] rule"
        if any(fnmatchcase(each, rule.match) for each in known):
            needs = dict(rule.values).get("needs", ())
            for name in needs if isinstance(needs, tuple) else ():
                yield name, f"needs of {json.dumps(rule.match)}"
