"""Programs of the host that are run by their names."""

import errno
import os
import stat


def trusted(name: str) -> str:
    """Return the path of a program on $PATH that only root (or we) can have put there. Raises FileNotFoundError.

    A root that came from `su` may still have the folders of another user on its PATH.
    """
    for folder in os.get_exec_path():
        path = f"{folder}/{name}"
        if folder.startswith("/") and os.access(path, os.X_OK) and _is_ours(folder) and _is_ours(path):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _is_ours(path: str) -> bool:
    found = os.stat(path)  # noqa: PTH116  # a Path for each would take longer than the rest
    by_others = stat.S_IWOTH | (stat.S_IWGRP if found.st_gid else 0)
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & by_others
