"""Saves: only with room for the guest's memory on the disk, and some at a time."""

import asyncio

import pytest

from lvg.stopvm import saving
from lvg.stopvm.decide import Facts
from lvg.stopvm.saving import NoRoomError, Saves

URI = "qemu:///system"
MIB = 1024


@pytest.fixture
def host(tmp_path):
    (tmp_path / saving.FOLDER).mkdir(parents=True)
    (tmp_path / "etc/libvirt").mkdir(parents=True)
    (tmp_path / "run/libvirt/qemu").mkdir(parents=True)
    return tmp_path


def qemu(host, name, pid, **kib):
    (host / f"run/libvirt/qemu/{name}.pid").write_text(f"{pid}\n")
    (host / f"proc/{pid}").mkdir(parents=True)
    lines = "".join(f"{key}:\t{value:8} kB\n" for key, value in kib.items())
    (host / f"proc/{pid}/status").write_text(f"Name:\tqemu\n{lines}Threads:\t4\n")


def free(monkeypatch, *mib):
    """Let the disk have so much room, each time it is asked; the last figure stays."""
    left = list(mib)
    monkeypatch.setattr(saving, "free_mib", lambda _: left.pop(0) if len(left) > 1 else left[0])


def guest(name, memory, uri=URI):
    return Facts(f"uuid-{name}", name, uri, memory=memory)


@pytest.mark.parametrize(
    ("most", "kib", "mib"),
    [
        (8192, {"VmRSS": 1000 * MIB}, 1000),
        (8192, {"VmRSS": 1000 * MIB, "VmSwap": 200 * MIB}, 1200),
        (8192, {"VmRSS": 100 * MIB, "HugetlbPages": 8192 * MIB}, 8192),
        (512, {"VmRSS": 700 * MIB}, 512),
        (512, {}, 512),
        (0, {"VmRSS": 700 * MIB}, 700),
    ],
)
def test_an_image_is_as_large_as_the_memory_that_is_used(host, most, kib, mib):
    qemu(host, "g", 4711, **kib)
    assert Saves(host, frozenset({URI})).mib(guest("g", most)) == mib


def test_of_a_guest_elsewhere_only_its_memory_is_known(host):
    qemu(host, "g", 4711, VmRSS=100 * MIB)
    assert Saves(host, frozenset({URI})).mib(guest("g", 512, "qemu+ssh://other/system")) == 512


def test_no_save_without_room(host, monkeypatch):
    free(monkeypatch, 500)

    async def save():
        async with Saves(host, frozenset({URI})).turn(guest("g", 512)):
            pytest.fail("there is no room")

    with pytest.raises(NoRoomError, match="has 500 MiB free, and it needs up to 512 MiB"):
        asyncio.run(save())


@pytest.mark.parametrize(
    ("why", "facts", "conf"),
    [
        ("elsewhere", guest("g", 512, "xen:///"), ""),
        ("nobody knows its memory", guest("g", 0), ""),
        ("compressed images", guest("g", 10**12), 'save_image_format = "zstd"\n'),
    ],
)
def test_a_save_that_may_fit_is_tried(host, why, facts, conf):
    (host / "etc/libvirt/qemu.conf").write_text(conf)

    async def save():
        async with Saves(host, frozenset({URI})).turn(facts):
            return True

    assert asyncio.run(asyncio.wait_for(save(), 10)), why


@pytest.mark.parametrize("conf", ["", '#save_image_format = "zstd"\n', 'save_image_format = "raw"\n'])
def test_the_room_of_the_disk_counts_when_images_are_not_compressed(host, conf):
    (host / "etc/libvirt/qemu.conf").write_text(conf)
    assert saving.free_mib(host) < 10**12


def test_two_that_do_not_fit_together_take_turns(host, monkeypatch):
    free(monkeypatch, 1000)
    saves, at_work, most = Saves(host, frozenset({URI})), set(), 0

    async def save(name, memory):
        nonlocal most
        async with saves.turn(guest(name, memory)):
            at_work.add(name)
            most = max(most, len(at_work))
            await asyncio.sleep(0.05)
            at_work.discard(name)

    async def all_of_them():
        await asyncio.gather(save("a", 600), save("b", 600), save("c", 600))

    asyncio.run(asyncio.wait_for(all_of_them(), 10))
    assert most == 1


def test_small_ones_are_saved_four_at_a_time(host, monkeypatch):
    free(monkeypatch, 10_000)
    saves, at_work, most = Saves(host, frozenset({URI})), 0, 0

    async def save(name):
        nonlocal at_work, most
        async with saves.turn(guest(name, 10)):
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0.05)
            at_work -= 1

    async def all_of_them():
        await asyncio.gather(*(save(f"g{n}") for n in range(12)))

    asyncio.run(asyncio.wait_for(all_of_them(), 10))
    assert most == saving.SAVES_AT_ONCE


def test_a_disk_that_cannot_be_asked_stops_no_save(host):
    (host / saving.FOLDER).rmdir()

    async def save():
        async with Saves(host, frozenset({URI})).turn(guest("g", 10**12)):
            return True

    assert asyncio.run(asyncio.wait_for(save(), 10))
