"""Another user of the host, in a process of its own, races against runs of root: it gets nothing of ours to write."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lvg.draw import terminal
from lvg.errors import LvgError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have another user attack")

NOBODY = 65534
ROUNDS = 16 if os.environ.get("LVG_THOROUGH") else 2  # .ci/run sets it
FOLDERS = (
    "etc/lvg",
    "etc/lvg/profiles",
    "etc/systemd/system/graceful-shutdown.service.d",
    "etc/systemd/system",
    "etc/default",
    "etc/systemd/system/multi-user.target.wants",
    "etc/systemd/system/libvirt-guests.service.d",
    "usr/local/bin",
    "var/lib/lvg",
    "var/lib/lvg/checkpoints",
    "var/lib/lvg/checkpoints/0001",
    "var/lib/lvg/history",
)
FILES = (
    "etc/lvg/policy.json",
    "etc/default/libvirt-guests",
    "var/lib/lvg/lock",
    "var/lib/lvg/applied.json",
    "usr/local/bin/stopvm",
    "etc/systemd/system/graceful-shutdown.service",
)
# It tries for ever to plant files, links and hard links, to write to our files, and to replace them.
ATTACKER = """
import itertools, os, signal, sys
root, victim, folders, files = sys.argv[1], sys.argv[2], sys.argv[3].split(), sys.argv[4].split()
count = 0
def end(*_):
    print("attempts:", count, flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
own = f"{root}/tmp/own"
with open(own, "w") as file:
    file.write("stolen")
def tries():
    for folder in folders:
        yield lambda: os.close(os.open(f"{root}/{folder}/evil", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        yield lambda: os.symlink(victim, f"{root}/{folder}/evil")
        yield lambda: os.link(own, f"{root}/{folder}/evil")
        yield lambda: os.rename(f"{root}/{folder}", f"{root}/tmp/moved")
    for path in files:
        yield lambda: os.close(os.open(f"{root}/{path}", os.O_WRONLY))
        yield lambda: os.rename(own, f"{root}/{path}")
        yield lambda: os.symlink(victim, f"{root}/{path}")
        yield lambda: os.unlink(f"{root}/{path}")
print("ready", flush=True)
while True:
    for attempt in tries():
        count += 1
        try:
            attempt()
        except OSError:
            continue
        print("it wrote", flush=True)
"""
# It flips one name in a folder where everybody may write between nothing, a link, a pipe and a file of its own.
FLIPPER = """
import os, signal, sys
name, victim = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print("ready", flush=True)
def attempt(act):
    try:
        act()
    except OSError:
        pass
while True:
    attempt(lambda: os.symlink(victim, name))
    attempt(lambda: os.unlink(name))
    attempt(lambda: os.mkfifo(name))
    attempt(lambda: os.unlink(name))
    attempt(lambda: os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)))
    attempt(lambda: os.unlink(name))
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a folder that another user can reach; pytest's own is for its user alone."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="lvg-races-", dir=shm if os.access(shm, os.W_OK) else None) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def attacked(program: str, *words: str) -> Iterator[list[str]]:
    """Let another user run a program meanwhile; yields what it said, which is there in the end."""
    said: list[str] = []
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        yield said
        assert process.poll() is None, process.stdout.read()
    finally:
        process.send_signal(signal.SIGTERM)
        said += process.communicate(timeout=20)[0].splitlines()


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_runs_of_root_open_no_gap(debian: Any, umask: int, record_property: Callable[[str, object], None]) -> None:
    (debian.root / "tmp").mkdir()
    (debian.root / "tmp").chmod(0o1777)
    victim = debian.put("/etc/shadow", "root:*\n", 0o600)
    before, old = debian.tree(), os.umask(umask)
    try:
        with attacked(ATTACKER, str(debian.root), str(victim), " ".join(FOLDERS), " ".join(FILES)) as said:
            for _ in range(ROUNDS):
                assert debian.install("--profile", "graceful").code == 0
                assert debian.run("lvg", "status").code == 0
                assert debian.run("lvg", "remove").code == 0
    finally:
        os.umask(old)
    assert [line for line in said if not line.startswith("attempts: ")] == []
    record_property("attempts", int(said[-1].split()[1]))
    after = debian.tree()
    assert after.pop("tmp/own")[1] == b"stolen"
    assert after == before


def test_a_picture_goes_through_no_link_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    victim, name = tmp_path / "shadow", tmp_path / "tmp/plan.svg"
    victim.write_text("root:*\n")
    with attacked(FLIPPER, str(name), str(victim)):
        end, done, refused = time.monotonic() + 0.5, 0, 0
        while time.monotonic() < end or not (done and refused):
            try:
                terminal.write(str(name), "<svg/>")
                done += 1
                name.unlink(missing_ok=True)
            except (LvgError, PermissionError):
                refused += 1
            assert victim.read_text() == "root:*\n"
            assert time.monotonic() < end + 20


def test_links_and_pipes_of_another_user_are_refused_and_ones_own_are_followed(tmp_path: Path) -> None:
    folder, victim = tmp_path / "tmp", tmp_path / "shadow"
    folder.mkdir()
    folder.chmod(0o1777)
    victim.write_text("root:*\n")
    for name in ("link", "dangling", "own"):
        (folder / name).symlink_to(victim if name != "dangling" else tmp_path / "new")
    os.mkfifo(folder / "pipe")
    for name in ("link", "dangling", "pipe"):
        os.chown(folder / name, NOBODY, NOBODY, follow_symlinks=False)
        with pytest.raises(LvgError, match="of another user's"):
            terminal.write(str(folder / name), "<svg/>")
    assert (victim.read_text(), (tmp_path / "new").exists()) == ("root:*\n", False)
    terminal.write(str(folder / "own"), "<svg/>")
    assert victim.read_text() == "<svg/>"


def test_standard_output_is_written_to_and_stays_what_it_is() -> None:
    program = "from lvg.draw import terminal; terminal.write('/dev/stdout', '<svg/>')"
    environment = {"PYTHONPATH": str(Path(terminal.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("<svg/>", "")
    assert Path("/dev/stdout").is_symlink()
