"""Reads of files that should be ordinary ones: nothing else that lies there is waited for, or read without end."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_MOST = 16 << 20  # bytes; far above a policy, or any file of libvirt's that we read whole


def opened(path: Path) -> BinaryIO:
    """Open a file to read. Raises OSError; also for what is no regular file, whose reading may never end."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return os.fdopen(handle, "rb")


def content(file: BinaryIO, most: int = _MOST) -> bytes:
    """Return what an open file holds. Raises OSError, also if that is more than `most` bytes."""
    found = file.read(most + 1)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")
    return found


def text(path: Path, most: int = _MOST) -> str:
    """Return what a file holds. Raises OSError; ValueError if it is not UTF-8."""
    with opened(path) as file:
        return content(file, most).decode()


def tail(path: Path, most: int) -> bytes:
    """Return the last bytes of a file. Raises OSError."""
    with opened(path) as file:
        file.seek(max(os.fstat(file.fileno()).st_size - most, 0))
        return file.read(most)
