"""A root and the files below it, read without leaving a trace.

Paths inside a root are absolute strings ("/etc/default/libvirt-guests"). Symbolic links are
resolved the way a process whose `/` is the root would see them; a relative link that climbs
above the root is refused, because following it would touch another host's files.
"""

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lvg.errors import LvgError

MAX_BYTES = 16 << 20  # far above any file that lvg reads or writes
_MAX_LINKS = 40  # the kernel's own limit (path_resolution(7))


@dataclass(frozen=True)
class Root:
    """The tree that is configured: `/` for the live host, any folder with --root."""

    path: Path = Path("/")

    @property
    def live(self) -> bool:
        """True if this is the running host itself."""
        return self.path == Path("/")

    def real(self, inside: str, *, follow_last: bool = True) -> Path:
        """Return where `inside` really lies on disk; it need not exist.

        Raises LvgError for a link that leaves the root, a chain of links without an end, and
        a dangling link as the last component.
        """
        todo, done, links, dangles = _parts(inside), list[str](), 0, ""
        top = str(self.path).rstrip("/")
        while todo:
            part = todo.pop(0)
            if part == "..":
                if not done:
                    raise LvgError(f"{inside} leaves the root {self.path}", "Mend the link, or give its target.")
                done.pop()
                continue
            target = "" if not todo and not follow_last else _link(f"{top}/{'/'.join([*done, part])}")
            if not target:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise LvgError(f"{inside}: too many symbolic links", "Break the loop of links.")
            dangles = target if not todo else dangles
            done = [] if target.startswith("/") else done
            todo = _parts(target) + todo
        found = Path(f"{top}/{'/'.join(done)}")
        if dangles and not os.path.lexists(found):
            raise LvgError(f"{inside} is a dangling link to {dangles}", "Remove it, or create what it points to.")
        return found

    def inside(self, real: Path) -> str:
        """Return the path inside the root of something that `real` returned."""
        return "/" + str(real.relative_to(self.path)) if real != self.path else "/"

    def read(self, inside: str) -> bytes | None:
        """Return the bytes of a file, or None if there is none. Raises LvgError if it cannot be read."""
        path = self.real(inside)
        try:
            return read_regular(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            what = f"{inside} cannot be read: {error.strerror}"
            raise LvgError(what, "Check its owner and mode, or run as root.") from None

    def text(self, inside: str) -> str | None:
        """Like `read`, decoded as UTF-8; bytes that are not UTF-8 survive a round trip."""
        data = self.read(inside)
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def exists(self, inside: str) -> bool:
        """True if the path leads to something inside the root."""
        with contextlib.suppress(LvgError, OSError):
            return self.real(inside).exists()
        return False

    def listdir(self, inside: str) -> list[str]:
        """Return the sorted names in a folder; an absent or unreadable folder is empty."""
        with contextlib.suppress(LvgError, OSError):
            return sorted(entry.name for entry in self.real(inside).iterdir())
        return []


def read_regular(path: Path) -> bytes:
    """Return the bytes of a regular file. Raises LvgError for anything else, a huge one included, and OSError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise LvgError(f"{path} is not a regular file", "Move it away, then run again.")
    if found.st_size > MAX_BYTES:
        raise LvgError(f"{path} has {found.st_size} bytes, which is no file of lvg or libvirt", "Move it away.")
    return path.read_bytes()


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _link(path: str) -> str:
    """Return where a symbolic link points to, "" for anything else."""
    try:
        return os.readlink(path)
    except OSError:
        return ""
