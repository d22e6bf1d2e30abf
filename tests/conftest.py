"""Fake hosts for every fast test: a small system tree that looks like a distro with libvirt."""

import contextlib
import functools
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

from lvg import bundle, cli, envfile
from lvg.envfile.sandbox import Sandbox

DATA = Path(__file__).parent / "data/libvirt-guests"
MEMORY = Path("/dev/shm")
ROOM = 2**29  # bytes; the largest tree of a fast test is far smaller
STOCK = """\
# URIs to check for running guests
#URIS=default

# action taken on host boot
#ON_BOOT=ignore

# action taken on host shutdown
#ON_SHUTDOWN=shutdown
#PARALLEL_SHUTDOWN=0
#SHUTDOWN_TIMEOUT=300
"""


# No case has a deadline: on a busy machine any may take long.
settings.register_profile("lvg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lvg")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out, in this one place and with the reason, what a container may take away."""
    if item.get_closest_marker("landlock") and not _has_landlock():
        pytest.skip("no Landlock here (old kernel, or a container's system call filter)")
    if item.get_closest_marker("strace") and not _has_strace():
        pytest.skip("no strace, or no process may be traced here (a container)")
    if item.get_closest_marker("mounts") and not _has_mounts():
        pytest.skip("no mount namespace can be made here (a chroot, or a container)")


@functools.cache
def _has_landlock() -> bool:
    with Sandbox() as box:
        return bool(box.complete)


@functools.cache
def _has_strace() -> bool:
    command = ["strace", "-f", "--seccomp-bpf", "-e", "trace=fsync", "true"]
    return bool(shutil.which("strace")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@functools.cache
def _has_mounts() -> bool:
    flags = ["-m"] if os.geteuid() == 0 else ["-rm"]
    return subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def memory_folder() -> Iterator[Path]:
    """Return a folder in memory, where the thousands of fsyncs cost nothing; elsewhere if there is no such place."""
    with tempfile.TemporaryDirectory(prefix="lvg-tests-", dir=MEMORY if _is_roomy(MEMORY) else None) as folder:
        yield Path(folder)


def _is_roomy(folder: Path) -> bool:
    """True if programs can be put there and run; a container may have little of it, or forbid that."""
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize > ROOM and not found.f_flag & os.ST_NOEXEC


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return a folder for this test alone, which is removed after it.

    pytest's own looks at the folders of all tests before to find a name for the next one, and keeps them all.
    """
    if request.node.get_closest_marker("packages"):
        yield request.getfixturevalue("tmp_path_factory").mktemp("test")  # of whole distros
        return
    folder = Path(tempfile.mkdtemp(dir=request.getfixturevalue("memory_folder")))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


_bundled, _sh_said = functools.cache(bundle.program), functools.cache(envfile.sh_values)


def _sh_values(data: bytes, keys: Iterable[str]) -> dict[str, str | None]:
    return dict(_sh_said(data, tuple(keys)))


@contextlib.contextmanager
def _asked_once() -> Iterator[None]:
    """Let sh read each file only once in all runs: the same file means the same to it, and starting it takes time.

    And stopvm's one file is made once: it is the same bytes each time (tests/unit/test_bundle.py).
    """
    with contextlib.ExitStack() as stack:
        for user in (envfile, sys.modules["lvg.envfile.edit"]):
            stack.enter_context(mock.patch.object(user, "sh_values", _sh_values))
        stack.enter_context(mock.patch.object(bundle, "program", _bundled))
        yield


@pytest.fixture(scope="module")
def sh_asked_once() -> Iterator[None]:
    """Let sh read each file only once in all tests that ask for this."""
    with _asked_once():
        yield


def lvg(command: str, *words: str) -> Done:
    """Run a command of the checkout in this process: a new one for each would take most of the time."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [command, *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _asked_once():
            {"lvg": cli.main, "lvg-install": cli.main_install}[command]()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.argv = argv
    return Done(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class FakeHost:
    """A system tree, and the commands of the checkout at work on it."""

    root: Path
    config: Path

    def run(self, command: str, *words: str) -> Done:
        return lvg(command, *words, "--root", str(self.root))

    def install(self, *words: str) -> Done:
        return self.run("lvg-install", *words)

    def put(self, path: str, text: str | bytes, mode: int = 0o644) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        target.chmod(mode)
        return target

    def tree(self) -> dict[str, tuple[str, bytes, int]]:
        """Return every path with its kind, content and mode: two equal trees are the same host."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = ("link", str(path.readlink()).encode(), 0)
            elif path.is_dir():
                found[name] = ("folder", b"", path.stat().st_mode & 0o7777)
            else:
                found[name] = ("file", path.read_bytes(), path.stat().st_mode & 0o7777)
        return found


def _debian(root: Path, config: str) -> None:
    (root / "usr/lib/systemd/system").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    etc, lib = "etc/systemd/system", ("usr/lib/libvirt", "usr/lib/python3/dist-packages")
    for folder in (etc, *lib, "var/lib", "usr/local/bin"):
        (root / folder).mkdir(parents=True)
    (root / "usr/lib/systemd/systemd").touch()
    for folder, name in (("systemd/system", "libvirt-guests.service"), ("libvirt", "libvirt-guests.sh")):
        (root / "usr/lib" / folder / name).write_text((DATA / name).read_text().replace("@config@", config))
    (root / "usr/lib/systemd/system/virt-guest-shutdown.target").write_text("[Unit]\nDescription=guests\n")
    (root / "usr/lib/python3/dist-packages/libvirt.py").touch()


@pytest.fixture(scope="session")
def make_host() -> Callable[..., FakeHost]:
    """Return a maker of fake hosts in a folder: Debian's layout, with any os-release text and config path."""

    def make(
        folder: Path,
        os_release: str = 'ID=debian\nVERSION_ID="12"\nNAME="Debian GNU/Linux"\n',
        config: str = "/etc/default/libvirt-guests",
        text: str | bytes | None = STOCK,
    ) -> FakeHost:
        root = folder / "root"
        root.mkdir()
        _debian(root, config)
        host = FakeHost(root, root / config.lstrip("/"))
        host.put("/etc/os-release", os_release)
        host.config.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            host.put(config, text)
        return host

    return make


@pytest.fixture
def fake_host(make_host: Callable[..., FakeHost], tmp_path: Path) -> Callable[..., FakeHost]:
    """Return a maker of fake hosts in the test's own folder."""
    return functools.partial(make_host, tmp_path)


@pytest.fixture
def debian(fake_host: Callable[..., FakeHost]) -> FakeHost:
    """Return a fake Debian 12 host with the stock file."""
    return fake_host()
