"""Guests begin as calls to libvirt have room, but none waits for a libvirt that hangs."""

import asyncio
import threading

import pytest

from lvg.stopvm import inorder, policy
from lvg.stopvm.calls import Calls
from lvg.stopvm.history import History, Record
from lvg.stopvm.keeper import Keeper
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report
from lvg.stopvm.stop import Stop


@pytest.mark.parametrize("stuck", [0, 2])
def test_all_guests_are_asked_although_all_calls_hang(fake, act, tmp_path, monkeypatch, stuck):
    monkeypatch.setattr(inorder, "_ROOM_WITHIN", 0.05)
    session, release = fake({f"g{number}": act() for number in range(20)}), threading.Event()

    async def run():
        calls = Calls(2)
        hanging = [asyncio.ensure_future(calls.run(60, release.wait)) for _ in range(stuck)]
        rules, keeper = policy.compile_policy({"budget": 15}), Keeper(History(tmp_path), Record(), Report())
        code = await Stop(rules, [session], keeper, Report(), Notifier(), calls=calls).run()
        release.set()
        await asyncio.gather(*hanging)
        return code

    assert asyncio.run(asyncio.wait_for(run(), 20)) == 0
    assert session.up == set()


def test_a_press_does_not_queue_behind_agents_that_hang():
    async def run():
        calls, release = Calls(), threading.Event()
        hanging = [asyncio.ensure_future(calls.run(60, release.wait)) for _ in range(100)]
        await asyncio.sleep(0.05)
        pressed = await calls.run(10, lambda: "pressed", quick=True)
        release.set()
        await asyncio.gather(*hanging)
        return pressed

    assert asyncio.run(asyncio.wait_for(run(), 20)) == "pressed"


def test_there_is_room_again_when_a_call_is_done():
    async def run():
        calls, release = Calls(1), threading.Event()
        call = asyncio.ensure_future(calls.run(60, release.wait))
        await asyncio.sleep(0)
        room = asyncio.ensure_future(calls.room())
        await asyncio.sleep(0.05)
        full = not room.done()
        release.set()
        await room
        return full, await call

    assert asyncio.run(asyncio.wait_for(run(), 10)) == (True, True)
