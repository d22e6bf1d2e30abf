"""Makes Guests of what the probe heard. Pure; what guests and their agents say is never trusted."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from lvg.guests.definition import Definition, read
from lvg.guests.facts import AgentState, Answer, Guest

PACKAGE = "python3-libvirt (Arch: libvirt-python, Alpine: py3-libvirt)"
# libvirt's numbers are part of its interface: virDomainState, its reasons, virDomainJobOperation. The words are
# those of stopvm.
_STATES = {3: "paused", 4: "shutdown", 6: "crashed", 7: "pmsuspended"}
_PAUSED = {8: "shutdown", 10: "crashed"}
_FOR_A_JOB = (2, 3, 4, 9)  # it runs on when the job is done; without one it was brought back paused
_WHY_PAUSED = {
    1: "user",
    2: "migration",
    3: "save",
    4: "dump",
    5: "io-error",
    6: "watchdog",
    7: "from a snapshot",
    8: "shutting down",
    9: "snapshot",
    10: "crashed",
    11: "starting up",
    12: "post-copy",
    13: "post-copy failed",
}
_OPERATIONS = {
    2: "save",
    4: "migration",
    5: "migration",
    6: "snapshot",
    7: "snapshot",
    8: "dump",
    9: "backup",
    10: "snapshot",
}
_NEEDED = ("guest-exec", "guest-exec-status", "guest-shutdown")  # an old agent may not know them at all
_LONGEST_OS = 80  # characters
_NAMED = 5  # guests that an error names


@dataclass
class _Heard:
    """The lines about one URI."""

    words: dict[str, Any] = field(default_factory=dict)
    guests: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)


def answers(uris: Sequence[str], lines: Iterable[bytes], cut: str, seconds: float, root: bool) -> tuple[Answer, ...]:
    """Return what each URI answered. `cut` says why the lines end early, "" if they do not; `root`: root has asked.

    Where two URIs mean the same libvirt, its guests are with the first whole answer.
    """
    heard = {uri: _Heard() for uri in uris}
    missing = ""
    for words in _words(lines):
        missing = missing or str(words.get("missing", ""))
        if (about := heard.get(words.get("uri", ""))) is not None:
            _sort(words, about)
    if missing:
        cut = f"Python has no libvirt module ({missing}): install {PACKAGE}"
    found = [_answer(uri, heard[uri], cut, seconds, root) for uri in uris]
    first: dict[str, Answer] = {}
    for answer in sorted(found, key=lambda each: bool(each.error)):
        first.setdefault(answer.real or answer.uri, answer)
    return tuple(each if each in first.values() else replace(each, guests=(), defined=(), saved=()) for each in found)


def is_missing(lines: Sequence[bytes]) -> bool:
    """True if the probe's Python has no libvirt."""
    return any("missing" in words for words in _words(lines))


def _words(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            words = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the probe was killed while it wrote it
        if isinstance(words, dict):
            yield words


def _sort(words: dict[str, Any], heard: _Heard) -> None:
    if "guest" in words:
        heard.guests[words["guest"]] = words
    elif "agent" in words:
        heard.agents.setdefault(words["agent"], {}).update(words)
    elif "job" in words:
        heard.jobs[words["job"]] = words["operation"]
    else:
        heard.words.update(words)


def _answer(uri: str, heard: _Heard, cut: str, seconds: float, root: bool) -> Answer:
    words, wrong = heard.words, []
    guests = []
    for uuid, facts in heard.guests.items():
        definition = read(facts["xml"], words.get("version", 0))
        if definition.wrong:
            wrong.append(f"{facts['name']}: its definition cannot be used: {definition.wrong}")
        guests.append(_guest(uri, facts, definition, heard.agents.get(uuid, {}), heard.jobs.get(uuid)))
    active, off = words.get("active", []), words.get("off", [])
    return Answer(
        uri=uri,
        real=words.get("real", ""),
        error="; ".join(filter(None, [_error(uri, words, heard, cut, root), *wrong])),
        version=words.get("version", 0),
        guests=tuple(guests),
        defined=tuple(sorted([*active, *off])),
        seconds=words.get("seconds", seconds),
        saved=tuple(sorted(words.get("saved", ()))),
    )


def _error(uri: str, words: Mapping[str, Any], heard: _Heard, cut: str, root: bool) -> str:
    """Return why the answer is none or not all; "" for a whole one."""
    hint = "" if root else " (asked by a user other than root: run it as root)"
    if error := words.get("error", ""):
        return f"{error}{hint}"
    if not words.get("listed"):
        known = {guest["name"] for guest in heard.guests.values()}
        unknown = [name for name in words.get("active", ()) if name not in known]
        names = ", ".join(unknown[:_NAMED]) + (", ..." if len(unknown) > _NAMED else "")
        return f"{cut or 'the question to libvirt broke off'}{f'; nothing is known of {names}' if names else ''}{hint}"
    if uri == "default" and not root and words.get("real", "").endswith("/session"):
        return f"{words['real']} has your own guests, not the host's: run it as root"
    return ""


def _state(number: int, reason: int, job: int | None) -> tuple[str, str]:
    """Return the state in stopvm's words and, of a guest that libvirt calls paused, the reason."""
    state = _STATES.get(number, "running")
    if state != "paused":
        return state, ""
    if reason in _FOR_A_JOB:
        return ("paused", "") if job is None else ("running", _WHY_PAUSED[reason])
    return _PAUSED.get(reason, state), _WHY_PAUSED.get(reason, "")


def _guest(
    uri: str, facts: Mapping[str, Any], definition: Definition, agent: Mapping[str, Any], job: int | None
) -> Guest:
    number, reason = facts["state"]
    state, why = _state(number, reason, job)
    return Guest(
        uuid=facts["guest"],
        name=facts["name"],
        uri=uri,
        state=state,
        why=why,
        persistent=facts["persistent"],
        autostart=facts["autostart"],
        managed_save=facts["managed_save"],
        memory=definition.memory,
        agent=_agent_state(definition, agent),
        agent_refuses=_refused(agent.get("info", "")),
        os=agent.get("os", "")[:_LONGEST_OS],
        job="" if job is None else _OPERATIONS.get(job, "job"),
        on_poweroff=definition.on_poweroff,
        acpi=definition.acpi,
        hostdev=definition.hostdev,
        cannot_save=(*definition.cannot_save, *(() if facts["persistent"] else ("it is transient",))),
        disks=definition.disks,
        pid=facts["pid"],
        emulator=definition.emulator,
        emulator_is_gone=facts["emulator_is_gone"],
        block_jobs=definition.block_jobs,
    )


def _agent_state(definition: Definition, agent: Mapping[str, Any]) -> AgentState:
    if definition.agent != "connected":
        return "off" if definition.agent else "none"
    return cast(AgentState, agent.get("state", "unasked"))


def _refused(reply: str) -> frozenset[str]:
    """Return the commands that an agent does not take, from its answer to guest-info."""
    commands = _returned(reply).get("supported_commands")
    known = [each for each in commands if isinstance(each, dict)] if isinstance(commands, list) else []
    names = {name for each in known if isinstance(name := each.get("name"), str)}
    off = {each["name"] for each in known if each.get("enabled") is False and isinstance(each.get("name"), str)}
    return frozenset(off | {name for name in _NEEDED if names and name not in names})


def _returned(reply: str) -> Mapping[str, Any]:
    """Return the object in an agent's reply, empty if there is none."""
    try:
        found = json.loads(reply)
    except (ValueError, RecursionError):
        return {}
    found = found.get("return") if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
