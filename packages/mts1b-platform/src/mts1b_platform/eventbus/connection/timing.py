"""Waiting on the clock that was handed in, as asyncio's own timeouts know only the loop's."""

import asyncio
from types import TracebackType
from typing import Any

from mts1b_platform.eventbus.connection.network import Clock, Timer


class Limit:
    """A block that may await for so many seconds, then ends in ``TimeoutError``; None: without a limit.

    It interrupts as ``asyncio.timeout`` does: a cancellation from elsewhere stays one.
    """

    __slots__ = ("_before", "_clock", "_passed", "_seconds", "_task", "_timer")

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock = clock
        self._seconds = seconds
        self._passed = False
        self._task: asyncio.Task[Any] | None = None
        self._timer: Timer | None = None

    def __enter__(self) -> None:
        if self._seconds is not None:
            self._task = asyncio.current_task()
            self._before = self._task.cancelling() if self._task is not None else 0
            self._timer = self._clock.call_later(max(0.0, self._seconds), self._pass)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._passed and self._task is not None:
            ours = self._task.uncancel() <= self._before
            if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error

    def _pass(self) -> None:
        self._passed = True
        if self._task is not None:
            self._task.cancel()


async def pause(clock: Clock, seconds: float) -> None:
    """Wait for ``seconds``."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_later(seconds, lambda: over.done() or over.set_result(None))
    try:
        await over
    finally:
        timer.cancel()


async def done_within(clock: Clock, future: "asyncio.Future[Any]", seconds: float) -> bool:
    """Wait until ``future`` is done, at most ``seconds``; says whether it is. It is not cancelled."""
    try:
        with Limit(clock, seconds):
            await asyncio.wait([future])
    except TimeoutError:
        return future.done()
    return True
