"""The end of a QEMU process, without libvirt."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvg.stopvm import watch


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    file = tmp_path / "run/libvirt/qemu/g.pid"
    file.parent.mkdir(parents=True)
    return file


@pytest.fixture
def qemu(pid_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    pid_file.write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


def end(root, after=None, seconds=60.0):
    async def run():
        if after:
            asyncio.get_running_loop().call_later(0.1, after)
        return await asyncio.wait_for(watch.process_end("g", root), seconds)

    return asyncio.run(run())


def test_a_process_that_ends(tmp_path, qemu):
    assert end(tmp_path, qemu.kill)


def test_a_process_that_runs_on(tmp_path, qemu):
    with pytest.raises(TimeoutError):
        end(tmp_path, seconds=0.3)


def test_a_process_that_ended_before_we_looked(tmp_path, qemu, pid_file):
    qemu.kill()
    qemu.wait()
    assert end(tmp_path)
    pid_file.unlink()
    assert end(tmp_path)


def test_a_process_that_nobody_knows_of(tmp_path, pid_file):
    pid_file.write_text("none\n")
    assert not end(tmp_path)
