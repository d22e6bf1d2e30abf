"""Evidence: which file the installed libvirt-guests reads, told by its own script and unit.

The script assigns its built-in defaults and then sources one file, so what it sources decides. The
unit's EnvironmentFile= is read too, but the script overwrites it (measured with libvirt 9.0 and
11.3); it counts where the script cannot be read. Texts are only looked at, never run.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lvg.detect.inits import is_openrc
from lvg.detect.service import GUESTS, Installed
from lvg.distros import FAMILIES, Distro
from lvg.files import Root
from lvg.systemd import Unit, directives

_NOT_CONFIG = ("gettext.sh", "init-functions", "functions", "functions.sh")
_KNOWN_FILES = (
    "/etc/default/libvirt-guests",
    "/etc/sysconfig/libvirt-guests",
    "/etc/conf.d/libvirt-guests",
    "/etc/libvirt/libvirt-guests.conf",
)
_ASSIGNMENT = re.compile(r"^[ \t]*(\w+)=(\"[^\"\n]*\"|'[^'\n]*'|[^\s;&|]*)", re.MULTILINE)
_SOURCED = re.compile(r"(?:^[ \t]*|(?:&&|\|\||;|\bthen\b)\s*)(?:\.|source)[ \t]+([^\s;&|]+)", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


class Evidence(NamedTuple):
    """One thing that was found: where, and in words. `path` is the config file it speaks for ("" if none)."""

    source: str
    says: str
    path: str = ""


def collect(root: Root, distro: Distro, found: Installed, config_file: str) -> tuple[Evidence, ...]:
    """Return everything that names a config file, the strongest first; `config_file` is the admin's word."""
    facts = [Evidence("--config-file", f"the file is {config_file}", config_file)] if config_file else []
    facts += _from_script(found)
    facts += _from_unit(root, found.unit)
    table, dialect = FAMILIES[distro.family].file_for(found.init)
    if table and found.dialect in ("", dialect):  # else this is not the libvirt-guests that the distro packages
        says = f"{distro.id or ' '.join(distro.id_like)} is of the family {distro.family}: {table}"
        facts.append(Evidence("distro table", says, table))
    existing = [path for path in _KNOWN_FILES if root.exists(path)]
    if not facts and len(existing) == 1:
        return (Evidence(existing[0], "is the only libvirt-guests file here", existing[0]),)
    named = {fact.path for fact in facts}
    unread = [Evidence(path, "is there, but nothing reads it") for path in existing if path not in named]
    return (*facts, *unread)


def disagreements(facts: Sequence[Evidence]) -> tuple[str, ...]:
    """Return one line for each source that names another file than the one that counts, the first."""
    others = [fact for fact in facts if fact.path and fact.path != facts[0].path]
    return tuple(f"{_claim(facts[0])} counts, but {_claim(other)}" for other in others)


def _claim(fact: Evidence) -> str:
    return f"{fact.path} ({fact.source})"


def _from_script(found: Installed) -> list[Evidence]:
    """Return what the script says: the file it sources, or the conf.d file that OpenRC reads for it."""
    if is_openrc(found.text):
        path = f"/etc/conf.d/{found.script.rpartition('/')[2]}"
        return [Evidence(found.script, f"OpenRC reads {path} for it", path)]
    return [Evidence(found.script, f"sources {path}", path) for path in dict.fromkeys(sourced(found.text))]


def sourced(text: str) -> Iterator[str]:
    """Yield the absolute paths of the config files that a shell script sources."""
    values = {name: _plain(value, {}) for name, value in _ASSIGNMENT.findall(text)}
    for word in _SOURCED.findall(text):
        path = _plain(word, values)
        if _is_plain_path(path) and path.rpartition("/")[2] not in _NOT_CONFIG:
            yield path


def _plain(word: str, values: Mapping[str, str]) -> str:
    """Return a shell word with its quotes gone and the variables that are known filled in."""
    return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), word.replace('"', "").replace("'", ""))


def _is_plain_path(path: str) -> bool:
    """True for an absolute path that can be shown and needs no shell to be understood."""
    return path.startswith("/") and path.isprintable() and "$" not in path


def _from_unit(root: Root, unit: Unit) -> list[Evidence]:
    """Return what the unit says: the EnvironmentFile= in force, and the file in which it stands."""
    files = [value.lstrip("-") for value in directives(unit.text, "Service", "EnvironmentFile")]
    files = [path for path in files if _is_plain_path(path)]
    last = ([path for path in files if GUESTS in path] or files or [""])[-1]
    if not last:
        return []
    holders = [path for path in (unit.fragment, *unit.drop_ins) if last in (root.text(path) or "")]
    return [Evidence((holders or [unit.fragment])[-1], f"EnvironmentFile={last}", last)]
