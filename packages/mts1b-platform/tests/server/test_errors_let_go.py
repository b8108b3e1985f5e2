"""An error that a caller is done with goes at once, and with it the frames that it passed, without the collector.

A frame that keeps the error that leaves it, in a variable or in a task or future of its own, is a circle. It holds what
the frame held, events and buffers, until the garbage collector comes by.
"""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import BusError, ConsumeError, EventBus, connect
from mts1b_platform.eventbus.connection.denials import Denials
from mts1b_platform.eventbus.consuming.workers import work_off
from mts1b_platform.testing import ConnectBus

WAIT = 60.0
REFUSED = 'Permissions Violation for Publish to "a"'


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def let_go(call: Callable[[], Awaitable[object]]) -> None:
    """``call`` raises, and nothing is left of its error when that was caught."""
    raised: weakref.ref[BaseException] | None = None
    try:
        await call()
    except BusError as error:
        raised = weakref.ref(error)
    assert raised is not None, "nothing was raised"
    for _ in range(5):  # tasks that have ended are let go by the event loop
        await asyncio.sleep(0)
    if raised() is not None:
        pytest.fail(f"still held by {[str(each)[:200] for each in gc.get_referrers(raised())]}")


async def _nothing(*_: Any) -> None:
    pass


async def test_of_a_reader_that_cannot_go_on():
    async def broken() -> AsyncIterator[Any]:
        await asyncio.sleep(0)
        raise ConsumeError("the reader cannot go on")
        yield

    def unsettled(_: Any) -> None: ...

    await let_go(lambda: work_off(broken(), _nothing, concurrency=2, name="r", stop=_nothing, unsettled=unsettled))


async def test_of_a_publish_that_the_server_refuses_later():
    denials = Denials(lambda: "somebody", lambda: "ask for more")

    async def told_later() -> None:
        denials.on_error(REFUSED)
        denials._remembered.clear()
        denials.raise_pending()

    await let_go(told_later)


async def test_of_a_publish_that_the_server_refuses_while_it_waits():
    denials = Denials(lambda: "somebody", lambda: "ask for more")

    async def told_while_it_waits() -> None:
        with denials.watch("a"):
            denials.on_error(REFUSED)
            denials._remembered.clear()
            await asyncio.sleep(10)

    await let_go(told_while_it_waits)


UNSTORED: dict[str, Callable[[EventBus], Awaitable[object]]] = {
    "one": lambda bus: bus.emit(OMS_ORDERS_CREATED, ORDER),
    "many": lambda bus: bus.emit_many(OMS_ORDERS_CREATED, [ORDER]),
    "atomic": lambda bus: bus.emit_many(OMS_ORDERS_CREATED, [ORDER], atomic=True),
    "loaded": lambda bus: bus.ingest(OMS_ORDERS_CREATED, [ORDER]),
    "nobody answers": lambda bus: bus.request("nobody.answers", timeout=WAIT),
    "no answer in time": lambda bus: bus.request("nobody.answers", timeout=0),
}


@pytest.mark.parametrize("call", UNSTORED.values(), ids=UNSTORED)
async def test_of_what_nobody_stores_or_answers(connect_bus: ConnectBus, call: Callable[[EventBus], Awaitable[object]]):
    bus = await connect_bus()  # without streams
    await let_go(lambda: call(bus))


@pytest.mark.parametrize("events", [[ORDER], [ORDER, ORDER]], ids=["one", "two"])
async def test_of_a_batch_that_is_stored_already(bus: EventBus, events: list[Order]):
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    await let_go(lambda: bus.emit_many(OMS_ORDERS_CREATED, events, atomic=True))


async def test_of_a_server_that_is_not_there(free_url: str):
    await let_go(lambda: connect(free_url, connect_timeout=0.2))


async def test_of_a_connection_that_breaks_under_who_waits(bus: EventBus):
    async def asked() -> None:
        closing.append(asyncio.create_task(_close_when(heard, bus)))
        await bus.request("slow", timeout=WAIT)

    closing: list[asyncio.Task[None]] = []

    async def hear(_: Any) -> None:
        heard.set()

    heard = asyncio.Event()
    await bus.subscribe("slow", cb=hear)
    await let_go(asked)


async def _close_when(heard: asyncio.Event, bus: EventBus) -> None:
    await heard.wait()
    await bus.close()
