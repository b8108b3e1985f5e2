"""Tasks that do not end at the first word."""

import asyncio

import pytest
from mts1b_platform.eventbus.ending import end


async def test_a_task_that_loses_a_cancellation_is_ended():
    lost: list[int] = []

    async def dialling() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if len(lost) == 2:
                    raise
                lost.append(1)

    task = asyncio.create_task(dialling())
    await asyncio.sleep(0)
    await end(task)
    assert task.cancelled()
    assert len(lost) == 2


@pytest.mark.parametrize("error", [None, ConnectionRefusedError()])
async def test_a_task_that_is_over_is_left_alone(error: Exception | None):
    async def over() -> None:
        if error is not None:
            raise error

    task = asyncio.create_task(over())
    await asyncio.wait([task])
    await end(task)
    assert task.exception() is error
