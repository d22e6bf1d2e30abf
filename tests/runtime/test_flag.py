"""A flag wakes all that wait for it, and none too early."""

import asyncio

from lvg.stopvm.flag import Flag

SOON = 0.01


def test_it_wakes_all_that_wait_however_long():
    async def run():
        flag = Flag()
        waits = [asyncio.ensure_future(flag.wait(seconds)) for seconds in (None, 20, 20)]
        assert await flag.wait(SOON) is False
        assert not any(wait.done() for wait in waits)
        flag.set()
        return await asyncio.gather(*waits), await flag.wait(), await flag.wait(0)

    assert asyncio.run(asyncio.wait_for(run(), 10)) == ([True, True, True], True, True)


def test_a_wait_that_is_cancelled_takes_nothing_from_the_others():
    async def run():
        flag = Flag()
        given_up, patient = (asyncio.ensure_future(flag.wait()) for _ in range(2))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(SOON)
        flag.set()
        return await patient, given_up.cancelled()

    assert asyncio.run(asyncio.wait_for(run(), 10)) == (True, True)


def test_it_can_be_taken_down_and_put_up_again():
    async def run():
        flag = Flag()
        flag.set()
        flag.set()
        flag.clear()
        down = await flag.wait(SOON)
        asyncio.get_running_loop().call_later(SOON, flag.set)
        return down, await flag.wait(), flag.future().done()

    assert asyncio.run(asyncio.wait_for(run(), 10)) == (False, True, True)
