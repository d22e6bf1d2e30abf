"""A throw-away host: a real systemd in a container over a cached tree, really booted and really powered off."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from roots import cache_dir, remove_tree

NSPAWN = [
    "setpriv", "--pdeathsig", "TERM",
    "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe", "--private-network",
    "--capability=all", "--system-call-filter=", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
]  # fmt: skip
INSIDE = {"HOME": "/root", "LC_ALL": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
PATIENCE = 240  # seconds: hosts share the processors with other ones, and nothing that is in order waits for it
_RUN = re.compile("starting up|shutting down")


class Machine:
    """One host. Everything it writes is in memory and gone after the `with` block.

    `layers` are read-only trees, the lowest last. `root` is the merged tree, readable from outside at any time.
    """

    def __init__(self, layers: list[Path]) -> None:
        self._layers = layers
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Machine:
        runs = cache_dir() / "run"
        runs.mkdir(parents=True, exist_ok=True)
        with (runs / "making").open("w") as making:
            fcntl.flock(making, fcntl.LOCK_EX)  # or another test run takes a host that is not locked yet for a dead one
            sweep()
            self._folder = Path(tempfile.mkdtemp(prefix="host-", dir=runs))
            self._owner = (runs / f"{self._folder.name}.lock").open("w")
            fcntl.flock(self._owner, fcntl.LOCK_EX)
        self.root = self._folder / "root"
        try:
            self._mount()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _mount(self) -> None:
        memory = self._folder / "memory"
        memory.mkdir()
        self.root.mkdir()
        _call("mount", "-t", "tmpfs", "-o", "mode=755,size=6g", "lvg-tests", str(memory))
        (memory / "work").mkdir()
        self.upper = memory / "upper"
        self.upper.mkdir(mode=0o755)
        lower = ":".join(map(str, self._layers))
        options = f"lowerdir={lower},upperdir={self.upper},workdir={memory / 'work'}"
        _call("mount", "-t", "overlay", "-o", options, "lvg-tests", str(self.root))

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            print(self.evidence())
        self.cut_power()
        _remove_run(self._folder)
        self._owner.close()

    # -- power ---------------------------------------------------------------------------------------------------

    def boot(self) -> Machine:
        """Switch on and wait until systemd says that it is up."""
        assert not self.on, "the machine is on already"
        (self.root / "run").mkdir(exist_ok=True)
        with (self._folder / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*_in_own_cgroup(self._folder.name), *NSPAWN, "-D", str(self.root), *_cgroup_option()],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.wait_for(self._find_leader, "systemd to start")
        self.wait_for(lambda: self.state() in ("running", "degraded"), "the host to be up")
        return self

    def _find_leader(self) -> bool:
        assert self._nspawn
        if self._nspawn.poll() is not None:
            raise AssertionError(f"systemd-nspawn ended: {self.console()}")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for pid in children:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue  # nspawn's first process ends soon
            if any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in status.splitlines()):
                self._leader = int(pid)
                (self._folder / "leader").write_text(f"{pid} {_started(self._leader)}")
                return True
        return False

    @property
    def on(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    def poweroff(self, seconds: float = PATIENCE) -> float:
        """`systemctl poweroff`, and wait until the machine is off. Returns how many seconds that took."""
        begin = time.monotonic()
        self.begin_poweroff()
        self.wait_off(seconds)
        return time.monotonic() - begin

    def begin_poweroff(self) -> None:
        self.run("systemctl poweroff --no-block", check=False)

    def wait_off(self, seconds: float = PATIENCE) -> None:
        assert self._nspawn
        try:
            self._nspawn.wait(seconds)
        except subprocess.TimeoutExpired:
            jobs = self.run("systemctl list-jobs; journalctl -b -n 60 --no-pager", check=False).stdout
            raise AssertionError(f"the host was not off after {seconds} s\n{jobs}") from None

    def reboot(self) -> float:
        """Power off, then on again with the same disk. Returns how many seconds the way down took."""
        took = self.poweroff()
        self.boot()
        return took

    def cut_power(self) -> None:
        """As if the plug was pulled: everything inside is killed at once."""
        if self.on and self._leader:
            with suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                assert self._nspawn
                self._nspawn.wait(60)
        if self.on:
            assert self._nspawn
            self._nspawn.kill()
            self._nspawn.wait(60)
        self._leader = 0

    # -- inside --------------------------------------------------------------------------------------------------

    def run(
        self, command: str | list[str], *, check: bool = True, seconds: float = PATIENCE
    ) -> subprocess.CompletedProcess:
        """Run a command inside as root (a text: by sh). With `check` a failure fails the test and shows the output."""
        argv = ["sh", "-c", command] if isinstance(command, str) else command
        done = subprocess.run(
            [*self.entering(), *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=INSIDE,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(_said(command, done))
        return done

    def entering(self) -> list[str]:
        """The words before a command that run it inside."""
        return ["nsenter", "-t", str(self._leader), "-a", "--root", "--wd", "--"]

    def chroot(self, command: str, seconds: float = 600) -> str:
        """Run sh in the tree while the machine is off, with the network of this machine (for apt)."""
        assert not self.on
        resolv = self.root / "etc/resolv.conf"
        resolv.unlink(missing_ok=True)
        resolv.write_bytes(Path("/etc/resolv.conf").read_bytes())
        mounts = 'mount -t proc proc "$1/proc" && mount -t devtmpfs dev "$1/dev" && shift && exec chroot "$@"'
        argv = ["unshare", "--mount", "sh", "-c", mounts, "sh", str(self.root), str(self.root), "sh", "-c", command]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=INSIDE, timeout=seconds, check=False
        )
        if done.returncode:
            raise AssertionError(_said(command, done))
        return done.stdout

    def state(self) -> str:
        """What systemd says of itself; "" while it says nothing, as in the middle of a soft-reboot."""
        return self.run("timeout 10 systemctl is-system-running", check=False).stdout.strip()

    def console(self) -> str:
        return (self._folder / "console").read_text(errors="replace")[-4000:]

    def journal(self, *options: str, boot: int = 0) -> str:
        """The journal of the last boot (-1: of the one before); works while the machine is on and when it is off."""
        tree = Path(f"/proc/{self._leader}/root") if self.on else self.root
        words = ["journalctl", "-D", "/var/log/journal", f"--boot={boot}", "-o", "short-precise", "--no-pager", "-q"]
        argv = [*words, *options]
        done = subprocess.run(
            ["chroot", str(tree), *argv], capture_output=True, text=True, errors="replace", check=True
        )
        return done.stdout

    def evidence(self) -> str:
        """What somebody wants to read after a failure."""
        units = ("graceful-shutdown", "graceful-restore", "libvirt-guests", "libvirtd")
        told = []
        for boot in (-1, 0):
            try:
                told.append(self.journal(*(word for unit in units for word in ("-u", unit)), boot=boot)[-9000:])
            except (OSError, subprocess.SubprocessError) as error:
                told.append(f"no journal of boot {boot}: {error}\n")
        logs = sorted((self.root / "var/log/guests").glob("*.log"))
        told += [f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs]
        for log in sorted((self.root / "var/log/libvirt/qemu").glob("*.log*")):
            lines = log.read_text(errors="replace").splitlines(keepends=True)
            told.append(f"--- libvirt's {log.name}\n{''.join(line for line in lines if _RUN.search(line))[-1500:]}")
        return "".join(told)

    def serial(self, guest: str) -> str:
        """All that a guest ever wrote to its serial port."""
        path = self.root / "var/log/guests" / f"{guest}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for(self, predicate: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        """Wait until `predicate` is true; fail the test after `seconds`."""
        end = time.monotonic() + seconds
        while not predicate():
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s in vain for {what}")
            time.sleep(0.1)


def _cgroups(name: str) -> list[Path]:
    top = Path("/sys/fs/cgroup")
    trees = [top] if (top / "cgroup.controllers").exists() else [top / "systemd", top / "unified"]
    return [tree / f"lvg-tests-{name}" for tree in trees if tree.exists()]


def _in_own_cgroup(name: str) -> list[str]:
    """Words before a command that run it in a cgroup of its own.

    nspawn puts a host below the cgroup it finds itself in, under a fixed name: two hosts at a time would share it,
    and take each other's units away.
    """
    for folder in _cgroups(name):
        folder.mkdir(exist_ok=True)
    procs = [str(folder / "cgroup.procs") for folder in _cgroups(name)]
    enter = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 1; shift; done; shift; exec "$@"'
    return ["sh", "-c", enter, "sh", *procs, "--"]


def _remove_cgroups(name: str) -> None:
    end = time.monotonic() + 5  # what was killed in it may take a moment to be gone
    while any(top.exists() for top in _cgroups(name)) and time.monotonic() < end:
        for top in _cgroups(name):
            for folder, _, _ in os.walk(top, topdown=False):
                with suppress(OSError):
                    Path(folder).rmdir()
        time.sleep(0.02)


def _cgroup_option() -> list[str]:
    # Without the controllers of this machine's own layout libvirt makes no machine scopes, and the guests would
    # be killed at once at power-off.
    return [] if Path("/sys/fs/cgroup/cgroup.controllers").exists() else ["systemd.unified_cgroup_hierarchy=0"]


def _said(command: str | list[str], done: subprocess.CompletedProcess) -> str:
    text = command if isinstance(command, str) else shlex.join(command)
    return f"`{text}` ended with {done.returncode}\n{done.stdout[-6000:]}{done.stderr[-6000:]}"


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def _started(pid: int) -> str:
    """When a process began, in ticks since this machine's boot: with it, a pid means one process only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _kill_leftover(folder: Path) -> None:
    if (folder / "leader").exists():
        pid, started = (folder / "leader").read_text().split()
        if _started(int(pid)) == started:
            os.kill(int(pid), signal.SIGKILL)


def _remove_run(folder: Path) -> None:
    for mounted in (folder / "root", folder / "memory"):
        for _ in range(50):
            if not os.path.ismount(mounted):
                break
            if subprocess.run(["umount", str(mounted)], capture_output=True, check=False).returncode:
                time.sleep(0.1)
        else:
            _call("umount", "--lazy", str(mounted))
    remove_tree(folder)
    _remove_cgroups(folder.name)
    folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


def sweep() -> None:
    """Remove what a killed test run left behind (its lock is free again, its host died with it)."""
    for lock in sorted((cache_dir() / "run").glob("*.lock")):
        with _try_lock(lock) as free:
            if free:
                _kill_leftover(lock.with_suffix(""))
                _remove_run(lock.with_suffix(""))


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
