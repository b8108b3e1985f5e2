"""Limits on the clock that is handed in: they end a block, and take nobody else's cancellation for theirs."""

import asyncio

import pytest
from mts1b_platform.eventbus.connection.timing import Limit, done_within, pause
from simulated import VirtualClock, settle


async def test_a_limit_ends_what_is_awaited():
    clock = VirtualClock()

    async def wait() -> str:
        try:
            with Limit(clock, 2):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            await asyncio.sleep(0)  # the task itself goes on
            return "over"
        return "never"

    task = asyncio.create_task(wait())
    await clock.advance(1.9)
    assert not task.done()
    await clock.advance(0.2)
    assert await task == "over"


async def test_a_limit_that_is_kept_leaves_no_timer():
    clock = VirtualClock()
    with Limit(clock, 2):
        await asyncio.sleep(0)
    with Limit(clock, None):
        await asyncio.sleep(0)
    assert clock.pending == 0


@pytest.mark.parametrize("first", ["limit", "caller"])
async def test_a_cancellation_from_elsewhere_stays_one(first: str):
    clock = VirtualClock()

    async def wait() -> None:
        with Limit(clock, 2):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(wait())
    await settle()
    (timer,) = [timer for _, _, timer in clock._timers]
    assert timer.callback is not None
    if first == "caller":
        task.cancel()
    timer.callback()
    if first == "limit":
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_an_error_in_time_is_not_replaced():
    with pytest.raises(ValueError, match="a bug"), Limit(VirtualClock(), 2):
        raise ValueError("a bug")


async def test_waiting_within_a_limit_leaves_the_future_alone():
    clock = VirtualClock()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(done_within(clock, future, 1))
    await clock.advance(1.1)
    assert await waiting is False
    assert not future.cancelled()
    future.set_result(None)
    assert await done_within(clock, future, 1) is True


async def test_a_pause_takes_its_time_and_can_be_called_off():
    clock = VirtualClock()
    pausing = asyncio.create_task(pause(clock, 5))
    await clock.advance(4.9)
    assert not pausing.done()
    await clock.advance(0.2)
    await pausing
    pausing = asyncio.create_task(pause(clock, 5))
    await settle()
    pausing.cancel()
    await settle()
    assert clock.pending == 0
