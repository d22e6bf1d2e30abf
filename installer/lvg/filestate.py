"""What one path is (absent, a file, a link), captured whole and put back whole.

A state that is put replaces the old one in a single rename, after the new bytes are on the disk,
so that a power cut leaves either the old or the new (rename(2), fsync(2)).
"""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lvg.errors import LvgError
from lvg.files import read_regular

Kind = Literal["absent", "file", "link"]


@dataclass(frozen=True)
class Meta:
    """Owner, mode and extended attributes of a file (SELinux's label is one of them)."""

    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class FileState:
    """Everything about one path that an undo has to bring back."""

    kind: Kind
    data: bytes = b""
    target: str = ""
    meta: Meta = Meta()

    @property
    def digest(self) -> str:
        """The SHA-256 of the content, "absent", or "link:TARGET"."""
        if self.kind == "file":
            return hashlib.sha256(self.data).hexdigest()
        return "absent" if self.kind == "absent" else f"link:{self.target}"

    def same_as(self, other: "FileState") -> bool:
        """True if content, owner and mode are equal; other attributes follow the file's place."""
        mine, theirs = self.meta, other.meta
        if self.kind == "file" and (mine.mode, mine.uid, mine.gid) != (theirs.mode, theirs.uid, theirs.gid):
            return False
        return self.digest == other.digest


ABSENT = FileState("absent")


def dress(state: FileState) -> str:
    """Return mode and owner of a file as `stat` would write them: "0644 0:0"."""
    return f"{state.meta.mode:04o} {state.meta.uid}:{state.meta.gid}"


def file_state(data: bytes, mode: int = 0o644) -> FileState:
    """Return the state of a plain file of root's (of the caller's, when that is not root)."""
    return FileState("file", data, meta=Meta(mode, os.geteuid(), os.getegid()))


def link_state(target: str) -> FileState:
    """Return the state of a symbolic link."""
    return FileState("link", target=target)


def capture(path: Path) -> FileState:
    """Return what `path` is now; a link is not followed.

    Raises LvgError for what is neither a file nor a link, or cannot be read.
    """
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return link_state(os.readlink(path))
        data = read_regular(path)
        meta = Meta(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, _xattrs(path))
        return FileState("file", data, meta=meta)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror}"
        raise LvgError(what, "Check its owner and mode, or run as root.") from None


def _xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM, errno.ENODATA):
            return ()
        raise


def staged_name(path: Path, tag: str) -> Path:
    """Return the temporary name beside `path` that a run called `tag` uses."""
    return path.with_name(f".{path.name}.lvg-{tag}")


def stage(path: Path, state: FileState, tag: str) -> None:
    """Lay `state` down beside `path`, complete and on disk. Nothing to do for an absent one.

    Raises OSError; nothing is left behind then.
    """
    temporary = staged_name(path, tag)
    if state.kind == "link":
        temporary.symlink_to(state.target)
    elif state.kind == "file":
        _write_new(temporary, state)


def _write_new(path: Path, state: FileState) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as out:
        try:
            out.write(state.data)
            out.flush()
            _dress(out.fileno(), state.meta)
            os.fsync(out.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _dress(handle: int, meta: Meta) -> None:
    now = os.fstat(handle)
    if (now.st_uid, now.st_gid) != (meta.uid, meta.gid):
        os.fchown(handle, meta.uid, meta.gid)
    for name, value in meta.xattrs:
        os.setxattr(handle, name, value)
    os.fchmod(handle, meta.mode)


def swap_in(path: Path, state: FileState, tag: str) -> None:
    """Make the staged state the real one, in one step. Raises OSError."""
    if state.kind == "absent":
        path.unlink(missing_ok=True)
    else:
        staged_name(path, tag).replace(path)
    sync_folder(path.parent)


def put(path: Path, state: FileState, tag: str) -> None:
    """Stage and swap in one go. Raises OSError."""
    staged_name(path, tag).unlink(missing_ok=True)
    stage(path, state, tag)
    swap_in(path, state, tag)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` survive a power cut."""
    if not folder.is_dir():
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
