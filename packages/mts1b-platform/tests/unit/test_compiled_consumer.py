"""What the compiled core awaits on behalf of a consumer, and what it asks the consumer for."""

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.hooks import of_handlers

pytestmark = pytest.mark.skipif(CORE is None, reason="of the compiled core")


class Asked:
    """A consumer whose messages are all for itself to see."""

    def __init__(self, *, started: bool = True, stubborn: bool = False) -> None:
        self._stopping = False
        self._prefetch = SimpleNamespace(queue=deque[Any](), handled={}) if started else None
        self._first_delivery = b"$JS.ACK.S.d.1."
        self._stubborn = stubborn
        self.turned = self.waited = 0
        self.gate, self.waits = asyncio.Event(), asyncio.Event()

    async def _turn(self) -> int:
        self.turned += 1
        await asyncio.sleep(0)
        return 7  # is no event

    async def _arrival(self) -> None:
        self.waited += 1
        self.waits.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            if not self._stubborn:
                raise
        assert self._prefetch is not None
        self._prefetch.queue.append(("of another form",))

    async def __anext__(self) -> Any:
        if self._prefetch is not None:
            return self._prefetch.queue.popleft()
        self._stopping = True
        raise StopAsyncIteration


def reader(consumer: Asked, turn: float = 1e9) -> Any:
    assert CORE is not None
    settler = SimpleNamespace(pause=SimpleNamespace(reason=None))
    return CORE.ConsumeReader(consumer, SimpleNamespace(hooks=None), settler, CORE.Subjects(), of_handlers, turn)


async def take(made: Any) -> Any:
    return await anext(made)


async def test_a_turn_and_an_arrival_are_awaited_before_the_event():
    consumer = Asked()
    task = asyncio.create_task(take(reader(consumer)))
    await consumer.waits.wait()
    consumer.gate.set()
    assert await task == ("of another form",)
    assert (consumer.turned, consumer.waited) == (1, 1)


async def test_every_turn_that_is_due_is_taken():
    consumer = Asked(started=False)
    with pytest.raises(StopAsyncIteration):
        await anext(reader(consumer))
    assert consumer.turned == 1


async def test_a_reader_of_a_consumer_that_waits_can_be_cancelled_and_asked_again():
    consumer = Asked()
    made = reader(consumer)
    task = asyncio.create_task(take(made))
    await consumer.waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    consumer.gate.set()
    assert await take(made) == ("of another form",)
    assert consumer.waited == 2


async def test_a_wait_that_ends_well_though_it_is_cancelled_goes_on_to_the_event():
    consumer = Asked(stubborn=True)
    task = asyncio.create_task(take(reader(consumer)))
    await consumer.waits.wait()
    task.cancel()
    assert await task == ("of another form",)


async def test_an_error_while_waiting_is_raised_to_the_reader():
    consumer = Asked()

    async def fail() -> None:
        raise LookupError("gone")

    consumer._arrival = fail
    with pytest.raises(LookupError, match="gone"):
        await take(reader(consumer))
