"""The end of a QEMU process, told apart: libvirtd cleaned up behind it, or nobody did."""

import asyncio
import subprocess

import pytest

from lvg.stopvm import watch


def told(folder, after=None):
    """Return what the watch tells, after `after` was called."""

    async def run():
        heard = asyncio.get_running_loop().create_future()
        watch.when_process_ends("g", heard.set_result, folder)
        if after:
            asyncio.get_running_loop().call_later(0.1, after)
        return await asyncio.wait_for(heard, 15)

    return asyncio.run(run())


@pytest.fixture
def qemu(tmp_path):
    process = subprocess.Popen(["sleep", "600"])
    (tmp_path / "g.pid").write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


def test_ended_and_cleaned_up(tmp_path, qemu):
    def end():
        qemu.kill()
        qemu.wait()
        (tmp_path / "g.pid").unlink()

    assert told(tmp_path, end) == "clean"


def test_killed_and_nobody_cleaned_up(tmp_path, qemu):
    assert told(tmp_path, qemu.kill) == "lost"


def test_ended_before_we_looked(tmp_path, qemu):
    qemu.kill()
    qemu.wait()
    assert told(tmp_path) == "lost"
    (tmp_path / "g.pid").unlink()
    assert told(tmp_path) == "clean"
