"""Find profiles: the caller's own file, the host's /etc/lvg/profiles, the shipped ones.

A local profile beats the shipped one of its name, and may extend it.
"""

import os
from pathlib import Path

from lvg.errors import LvgError, UsageError, did_you_mean
from lvg.files import Root
from lvg.profiles.reading import LOCAL_FOLDER, Document, Source, read

SHIPPED_VARIABLE = "LVG_PROFILES_DIR"


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
    known = [each for each in names(root) if each != name]  # a local one of this name extends itself
    todo = f"Profiles: {', '.join(known)}. Your own go to {LOCAL_FOLDER}, or give the path of a .toml file."
    raise UsageError(f'There is no profile "{name}".{did_you_mean(name, known)}', todo)
