"""The text of systemd units: what a directive is worth, and the links an [Install] section asks for.

Pure; the rules are those of systemd.syntax(7), systemd.unit(5) and systemctl(1).
"""

from collections.abc import Iterator

_CONFIG = "/etc/systemd/system"
_LINK_FOLDERS = {"WantedBy": "wants", "RequiredBy": "requires", "UpheldBy": "upholds"}


def directives(text: str, section: str, key: str) -> list[str]:
    """Return all values of a key, in order; an empty value forgets those before it.

    `text` may be a unit followed by its drop-ins, as `systemctl cat` prints them.
    """
    values: list[str] = []
    for found_section, found_key, value in _entries(text):
        if (found_section, found_key) == (section, key):
            values = [*values, value] if value else []
    return values


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    section = ""
    for line in _logical_lines(text):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip(), value.strip()


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines with continuations joined; comments and blank lines drop out, also inside one."""
    begun = ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(("#", ";")) or not (stripped or begun):
            continue
        if stripped.endswith("\\"):
            begun += stripped[:-1] + " "
            continue
        yield (begun + stripped).strip()
        begun = ""
    if begun:
        yield begun.strip()


def install_links(unit_name: str, unit_text: str, fragment: str) -> tuple[tuple[str, str], ...]:
    """Return (link, target) for every link that `systemctl enable` would make, in no order.

    `fragment` is the unit file's path, the target of them all. Units named by Also= have texts of their
    own (`also`), and specifiers such as %i are left as they are.
    """
    links = [
        f"{_CONFIG}/{target}.{folder}/{unit_name}"
        for key, folder in _LINK_FOLDERS.items()
        for target in _words(unit_text, key)
    ]
    links += [f"{_CONFIG}/{alias}" for alias in _words(unit_text, "Alias") if alias != unit_name]
    return tuple((link, fragment) for link in dict.fromkeys(links))


def also(unit_text: str) -> tuple[str, ...]:
    """Return the names of the units that are enabled together with this one."""
    return tuple(_words(unit_text, "Also"))


def _words(text: str, key: str) -> list[str]:
    return [word for value in directives(text, "Install", key) for word in value.split()]
