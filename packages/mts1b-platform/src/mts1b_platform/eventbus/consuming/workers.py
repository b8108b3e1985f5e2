"""Handing the events of a reader to a handler, several at a time."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from functools import partial
from typing import Any, cast

from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.errors import raise_first
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.limits import check_concurrency
from mts1b_platform.threads import in_thread, is_plain

Handler = Callable[[Event[T]], Awaitable[None]] | Callable[[Event[T]], None]


async def work_off(
    events: AsyncIterable[Event[T]],
    handler: Handler[T],
    *,
    concurrency: int,
    name: str,
    stop: Callable[[], Awaitable[None]],
    unsettled: Callable[[Event[T]], None],
) -> None:
    """Hand every event to ``handler``, up to ``concurrency`` at a time, each inside ``async with event``.

    Args:
        events: the reader; may be iterated by several tasks.
        handler: a coroutine function, or a plain function, which runs in a thread.
        concurrency: calls at work at a time.
        name: of the reader, for its tasks.
        stop: stops the reader when one of the calls cannot go on.
        unsettled: told of an event whose plain function is still at work when this is cancelled.

    Raises:
        InvalidArgument: ``concurrency`` is no number of calls.
        ConsumeError: the reader cannot go on.
    """
    check_concurrency(concurrency)
    handle = cast("Callable[[Event[T]], Awaitable[None]]", handler)
    if is_plain(handler):
        handle = partial(_in_thread, handler, unsettled)

    async def work() -> None:
        async for event in events:
            async with event:
                await handle(event)

    if concurrency == 1:
        await work()
        return
    workers = [asyncio.create_task(work(), name=f"{name} {number}") for number in range(concurrency)]
    try:
        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        await stop()
        await asyncio.wait(workers)
    finally:
        for worker in workers:
            worker.cancel()
        ended = await asyncio.gather(*workers, return_exceptions=True)
        workers.clear()
    raise_first(ended)


async def _in_thread(handler: Any, unsettled: Callable[[Event[T]], None], event: Event[T]) -> None:
    try:
        await in_thread(handler, event)
    except asyncio.CancelledError:
        unsettled(event)
        raise
