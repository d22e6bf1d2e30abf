"""Guests begin as calls to libvirt have room, but none waits for a libvirt that hangs."""

import asyncio
import threading

import pytest

from lvg.stopvm import inorder, policy
from lvg.stopvm.calls import Calls, CallTimeoutError
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


def test_there_is_room_again_when_calls_are_done():
    async def run():
        calls, release = Calls(1), threading.Event()
        hanging = [asyncio.ensure_future(calls.run(60, release.wait)) for _ in range(100)]
        await asyncio.sleep(0)
        room = asyncio.ensure_future(calls.room())
        await asyncio.sleep(0.05)
        full = not room.done()
        release.set()
        await room
        return full, await asyncio.gather(*hanging)

    assert asyncio.run(asyncio.wait_for(run(), 10)) == (True, [True] * 100)


def test_every_caller_gets_its_own_result():
    async def run():
        calls = Calls()
        return await asyncio.gather(*(calls.run(10, lambda n=n: n * n, quick=n % 2 == 0) for n in range(500)))

    assert asyncio.run(run()) == [number * number for number in range(500)]


@pytest.mark.parametrize("quick", [True, False])
def test_calls_go_on_although_threads_are_stuck(quick):
    async def run():
        calls, release = Calls(4), threading.Event()
        stuck = await asyncio.gather(
            *(calls.run(0.05, release.wait, quick=quick) for _ in range(20)), return_exceptions=True
        )
        done = await calls.run(10, lambda: "done", quick=quick)
        release.set()
        return {type(error) for error in stuck}, done

    assert asyncio.run(asyncio.wait_for(run(), 20)) == ({CallTimeoutError}, "done")


def test_quick_calls_that_are_slow_get_more_threads():
    async def run():
        calls, together = Calls(), threading.Barrier(12)
        return await asyncio.gather(*(calls.run(10, lambda: together.wait(10), quick=True) for _ in range(12)))

    assert sorted(asyncio.run(asyncio.wait_for(run(), 20))) == list(range(12))


def test_a_call_that_nobody_waits_for_any_more_is_not_begun():
    async def run():
        calls, release, begun = Calls(1), threading.Event(), []
        first = asyncio.ensure_future(calls.run(10, release.wait))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(calls.run(10, lambda: begun.append("second")))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        release.set()
        await first
        await calls.run(10, lambda: begun.append("third"))
        return begun

    assert asyncio.run(asyncio.wait_for(run(), 10)) == ["third"]
