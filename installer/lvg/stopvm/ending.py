"""How a guest ended: by libvirt's events, or, when libvirt goes before it can tell, by what is left behind.

A process that is not our child does not tell us how it ended. libvirtd removes the pid file whatever ended it, so
that says nothing either. What does: the guest's own shutdown, which libvirt tells before it ends QEMU; a saved
image that is whole; and libvirt's last line in the guest's log. Without any of them a guest counts as lost.
"""

import re
from pathlib import Path

from . import plainfile
from .flag import Flag

ROOT = Path("/")
_IMAGE_IS_WHOLE = b"LibvirtQemudSave"  # until all is written it begins with LibvirtQemudPart (qemu_saveimage.h)
_CLOSED_WITHIN = 0.1  # seconds between a request that fails with the connection and the news of that
_TAIL = 65536  # bytes of the log that are read
_LAST_WORDS = re.compile(rb"^\S+ \S+: (?:(starting up) libvirt version|shutting down, reason=(\w+))", re.MULTILINE)
_REASONS = {
    b"shutdown": "clean",
    b"saved": "saved",
    b"destroyed": "destroyed",
    b"migrated": "moved",
    b"crashed": "lost",
    b"failed": "lost",
}


class Ending:
    """What is known of one guest's end."""

    def __init__(self) -> None:
        self.gone = Flag()
        self.how = ""  # clean, saved, destroyed, lost or moved; the first that is known counts
        self.save_asked = False
        self.hurry_up = Flag()  # time runs short: it is to be saved while that can be done
        self.adrift = 0.0  # seconds in which news may still come, while there is no connection to libvirt
        self._last = ""
        self._stir = Flag()

    def hear(self, what: str) -> None:
        """Take libvirt's news, as in `Events`."""
        kind, _, how = what.partition(":")
        if kind == "stopped":
            self.settle(how)
        elif kind == "gone":
            self.judge("")
        elif kind in ("finished", "killed", "crashed", "resumed"):
            self._last = kind
        self._set_stir()

    def hurry(self) -> None:
        """Take that there is no time left to wait for the guest's own end."""
        self.hurry_up.set()
        self._set_stir()

    def _set_stir(self) -> None:
        if self.stirred:
            self._stir.set()
        else:
            self._stir.clear()

    @property
    def hurried(self) -> bool:
        """True if there is no time left to wait for the guest's own end."""
        return self.hurry_up.is_set()

    @property
    def stirred(self) -> bool:
        """True if there is no use in asking the guest (again): it is gone, or as good as gone, or has no time."""
        return self.gone.is_set() or self.finished or self.crashed or self.hurried

    def settle(self, how: str) -> None:
        """Take that it is gone. For libvirt a guest whose QEMU got a signal was shut down; it was not.

        One that shut itself down before its process was ended did end cleanly.
        """
        if self.gone.is_set():
            return
        meant = {("clean", "killed"): "destroyed", ("destroyed", "finished"): "clean"}
        self.how = meant.get((how, self._last), how)
        self.gone.set()
        self._set_stir()

    async def wait(self, seconds: float) -> None:
        """Return when it stirs, or after `seconds`."""
        await self._stir.wait(seconds)

    async def wait_gone(self, seconds: float) -> None:
        """Return when it is gone, or after `seconds`."""
        await self.gone.wait(seconds)

    async def last_news(self) -> None:
        """Wait a moment, after a failed request, for a guest that took the connection along when it ended."""
        await self.wait_gone(_CLOSED_WITHIN)
        await self.wait_gone(self.adrift)

    @property
    def finished(self) -> bool:
        """True if the guest shut itself down; its QEMU only waits to be ended by libvirt."""
        return self._last == "finished"

    @property
    def crashed(self) -> bool:
        """True if the guest's kernel panicked, and libvirt has not restarted it."""
        return self._last == "crashed"

    def judge(self, said: str) -> None:
        """Take that it is gone without news of that. `said`: how, by libvirt's own account afterwards, "" if unknown.

        libvirtd's account is none of a time when it was down: what it then finds gone it calls crashed.
        """
        if said != "saved" and self.finished:
            said = "clean"
        self.settle(said or "lost")


def left_behind(name: str, save_asked: bool, root: Path = ROOT) -> str:
    """Return how a local guest ended, as its saved image and its log say; "" if they do not."""
    if save_asked and _is_saved(root / f"var/lib/libvirt/qemu/save/{name}.save"):
        return "saved"
    return _log_says(root / f"var/log/libvirt/qemu/{name}.log")


def _is_saved(image: Path) -> bool:
    try:
        with plainfile.opened(image) as file:  # in a folder of QEMU's own user
            return file.read(len(_IMAGE_IS_WHOLE)) == _IMAGE_IS_WHOLE
    except OSError:
        return False


def _log_says(log: Path) -> str:
    """Return what libvirt wrote when it was done with the guest, if that was after the guest's last start."""
    try:
        found = _LAST_WORDS.findall(plainfile.tail(log, _TAIL))
    except OSError:
        return ""
    return _REASONS.get(found[-1][1], "") if found else ""
