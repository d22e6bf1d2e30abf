"""Find profiles and read them: the caller's own file, the host's /etc/lvg/profiles, the shipped ones.

A local profile beats the shipped one of its name, and may extend it. Only the host's own files and the
caller's file are checked for their owner: what is shipped lies where the program itself lies.
"""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from lvg.errors import LvgError, UsageError, did_you_mean
from lvg.files import Root

LOCAL_FOLDER = "/etc/lvg/profiles"
SHIPPED_VARIABLE = "LVG_PROFILES_DIR"
_MAX_BYTES = 1 << 20


class Source(NamedTuple):
    """Where a profile lies. `label` is what people are shown: a local file's path as the host sees it."""

    kind: Literal["shipped", "local", "caller"]
    name: str
    label: str
    path: Path


@dataclass(frozen=True)
class Document:
    """One profile file, read and parsed, not yet checked."""

    source: Source
    text: str = field(repr=False)
    data: Mapping[str, object] = field(hash=False)

    def where(self, key: str = "") -> str:
        """Return the file's label, with the line of `key` if exactly one line sets it."""
        wanted = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
        lines = [number for number, line in enumerate(self.text.splitlines(), 1) if key and wanted.match(line)]
        return f"{self.source.label}, line {lines[0]}" if len(lines) == 1 else self.source.label


def names(root: Root) -> tuple[str, ...]:
    """Return the names of all profiles of this host, sorted. Raises LvgError without shipped profiles."""
    files = [*(path.name for path in shipped_folder().iterdir()), *root.listdir(LOCAL_FOLDER)]
    return tuple(sorted({name[:-5] for name in files if name.endswith(".toml") and not name.startswith(".")}))


def shipped_folder() -> Path:
    """Return the folder of the shipped profiles: in a wheel, a checkout or a distro's package.

    Raises LvgError if there is none, or if LVG_PROFILES_DIR names something else.
    """
    named = os.environ.get(SHIPPED_VARIABLE)
    package = Path(__file__).resolve().parents[1]
    usual = (package / "shipped", package.parent.parent / "profiles", Path("/usr/share/lvg/profiles"))
    places = (Path(named),) if named else usual
    for place in places:
        if place.is_dir() and any(place.glob("*.toml")):
            return place
    todo = f"Set {SHIPPED_VARIABLE} right, or unset it." if named else "Install lvg again."
    raise LvgError(f"No profiles in {', '.join(str(place) for place in places)}.", todo)


def chain(wish: str, root: Root) -> tuple[Document, ...]:
    """Return the wished profile and all that it extends, the deepest base first.

    `wish` is a name, or the path of a file of the caller (it holds a slash or ends in .toml).
    Raises UsageError for an unknown profile, a circle, a file that is not TOML or not to be trusted.
    """
    found = [read(locate(wish, root), root)]
    while "extends" in found[-1].data:
        base = _base(found[-1], root)
        if base.path in [document.source.path for document in found]:
            trail = " extends ".join(document.source.label for document in found)
            raise UsageError(f"{trail} extends {base.label}: that is a circle.", 'Remove one "extends".')
        found.append(read(base, root))
    return tuple(reversed(found))


def locate(wish: str, root: Root) -> Source:
    """Return where the profile `wish` lies. Raises UsageError if there is none."""
    if is_path(wish):
        return _callers(Path(wish), wish)
    return _local(wish, root) or _shipped(wish, root)


def is_path(wish: str) -> bool:
    """True if `wish` is a file of the caller, not a profile's name."""
    return "/" in wish or wish.endswith(".toml")


def _base(document: Document, root: Root) -> Source:
    own, wish = document.source, document.data["extends"]
    if not isinstance(wish, str) or not wish:
        raise UsageError(f"{document.where('extends')}: extends must be the name of a profile.", 'extends = "graceful"')
    try:
        if not is_path(wish):
            return _shipped(wish, root) if own.kind == "local" and own.name == wish else locate(wish, root)
        if own.kind == "caller":
            return _callers(own.path.parent / wish, str(own.path.parent / wish))
    except UsageError as error:
        raise UsageError(f'{document.where("extends")}: extends = "{wish}": {error.what}', error.todo) from None
    raise UsageError(f'{document.where("extends")}: extends = "{wish}" is a path.', "Extend a profile by its name.")


def _is_there(path: Path) -> bool:
    """True if there is a file. Raises OSError where that cannot be known: Path.exists hides it since Python 3.14."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _callers(path: Path, label: str) -> Source:
    try:
        if _is_there(path):
            return Source("caller", path.stem, label, path.resolve())
    except OSError as error:
        raise LvgError(f"{label} cannot be read: {error.strerror}.", "Check the path and its owner.") from None
    todo = f'Without ".toml" it is the profile "{path.stem}".' if "/" not in label else "Check the path."
    raise UsageError(f"There is no profile file {label}.", todo)


def _local(name: str, root: Root) -> Source | None:
    inside = f"{LOCAL_FOLDER}/{name}.toml"
    try:
        path = root.real(inside)
        return Source("local", name, inside, path) if _is_there(path) else None
    except OSError as error:
        raise LvgError(f"{inside} cannot be read: {error.strerror}.", "Check the name, or run as root.") from None


def _shipped(name: str, root: Root) -> Source:
    path = shipped_folder() / f"{name}.toml"
    if path in path.parent.glob("[!.]*.toml"):
        return Source("shipped", name, path.name, path.resolve())
    known = names(root)
    todo = f"Profiles: {', '.join(known)}. Your own go to {LOCAL_FOLDER}, or give the path of a .toml file."
    raise UsageError(f'There is no profile "{name}".{did_you_mean(name, known)}', todo)


def read(source: Source, root: Root) -> Document:
    """Read and parse one profile. Raises UsageError or LvgError that names the file, and the line if known."""
    data = _bytes(source, root)
    try:
        text = data.decode("utf-8-sig")
        return Document(source, text, tomllib.loads(text))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{source.label}, line {line}: not UTF-8.", "Save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{source.label} is not TOML: {what}.", 'Write KEY = value, text in "quotes".') from None


def _bytes(source: Source, root: Root) -> bytes:
    """Read what was checked: owner and mode are those of the very file that is open."""
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        handle = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _refuse(source, os.fstat(handle), root)
            with open(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)
    except OSError as error:
        raise LvgError(f"{source.label} cannot be read: {error.strerror}.", "Check its owner and mode.") from None


def _refuse(source: Source, found: os.stat_result, root: Root) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{source.label} is not a regular file.", "Give a TOML file.")
    if found.st_size > _MAX_BYTES:
        raise UsageError(f"{source.label} is larger than 1 MiB.", "A profile is a short TOML file.")
    owners = _trusted(source, root)
    if owners is None:
        return
    places = [(source.label, found)]
    if source.kind == "local":
        places.append((LOCAL_FOLDER, root.real(LOCAL_FOLDER).stat()))
    for label, place in places:
        reason = distrust(place.st_mode, place.st_uid, owners)
        if reason:
            raise UsageError(f"{label} {reason}.", f"Look at it, then: chown root {label}; chmod go-w {label}")


def _trusted(source: Source, root: Root) -> frozenset[int] | None:
    """Return who may own a profile, or None where nobody is harmed: what is shipped, or no change of a live host."""
    by_sudo = os.environ.get("SUDO_UID", "")
    callers = {0, os.geteuid()} | ({int(by_sudo)} if by_sudo.isdecimal() else set())
    if source.kind == "local":
        return frozenset({0} if root.live else callers)
    return frozenset(callers) if source.kind == "caller" and root.live and os.geteuid() == 0 else None


def distrust(mode: int, owner: int, trusted: frozenset[int]) -> str:
    """Return why a file with this mode and owner may not decide over guests, or ''."""
    if owner not in trusted:
        return f"belongs to user {owner}, not to root"
    return "may be written by others" if mode & (stat.S_IWGRP | stat.S_IWOTH) else ""
