"""One suite for every surface: what is promised holds through emit/consume, through Service, both with and without
``ordered_by``, and through raw nats-py.

The raw surface is the one that the first users were shown: ``js.publish`` with headers of one's own, and
``js.subscribe(…, durable=…, manual_ack=True)`` with ``msg.ack()`` and ``msg.nak()``.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Protocol

import pytest
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_operations.deadletters import Letter, letters
from mts1b_platform.eventbus import EventBus, RetryPolicy
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.errors import AlreadyDone
from mts1b_platform.server import NatsServer
from mts1b_platform.service import Service
from mts1b_platform.testing.bus import ConnectBus

DURABLE = "conformance"
POLICY = RetryPolicy(max_deliveries=5, base=0.05, factor=1, jitter=0)
PATIENCE = 60
"""Seconds to wait for what comes at once unless the machine stands still."""
SUBJECT = "mts.v1.oms.orders.created"

Handle = Callable[[Order], Awaitable[None]]


class Surface(Protocol):
    """How a program publishes orders and handles them."""

    async def publish(self, order: Order) -> Any:
        """Store ``order``; the surface's ack."""
        ...

    def handling(self, handle: Handle, durable: str = DURABLE, *, once: bool = False) -> Any:
        """Inside the block every order is handed to ``handle``; it raises and the order comes again."""
        ...


class Typed:
    """``emit`` and ``consume``."""

    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, bus: EventBus, _url: str) -> None:
        self.bus = bus

    async def publish(self, order: Order) -> Any:
        return await self.bus.emit(OMS_ORDERS_CREATED, order)

    @asynccontextmanager
    async def handling(
        self, handle: Handle, durable: str = DURABLE, *, once: bool = False
    ) -> AsyncGenerator[None, None]:
        store = KvDedupe(self.bus)
        consumer = self.bus.consume(OMS_ORDERS_CREATED, durable=durable, policy=POLICY, **self.options)

        async def read() -> None:
            async for event in consumer:
                async with event:
                    if once:
                        async with event.once(store):
                            await handle(event.payload)
                    else:
                        await handle(event.payload)

        await consumer.start()
        task = asyncio.create_task(read())
        try:
            yield
        finally:
            await consumer.stop()
            await asyncio.wait_for(task, PATIENCE)


class Decorated(Typed):
    """``Service``."""

    def __init__(self, bus: EventBus, url: str) -> None:
        super().__init__(bus, url)
        self.url = url

    @asynccontextmanager
    async def handling(
        self, handle: Handle, durable: str = DURABLE, *, once: bool = False
    ) -> AsyncGenerator[None, None]:
        service = Service("mts1b-brokers", servers=self.url)

        @service.consumes(
            OMS_ORDERS_CREATED, durable=durable, policy=POLICY, dedupe=KvDedupe if once else None, **self.options
        )
        async def act(event: Any, *_: Any) -> None:
            await handle(event.payload)

        task = asyncio.create_task(service.serve())
        await asyncio.wait_for(service.started(), PATIENCE)
        try:
            yield
        finally:
            service.stop()
            await asyncio.wait_for(task, PATIENCE)


class Ordered(Typed):
    """``consume`` with ``ordered_by``; each order is a key of its own."""

    options: ClassVar[dict[str, Any]] = {"ordered_by": "order_id"}


class DecoratedOrdered(Decorated):
    """``Service`` with ``ordered_by``."""

    options: ClassVar[dict[str, Any]] = Ordered.options


class Raw:
    """nats-py's own calls, as a program written for nats-py makes them."""

    def __init__(self, bus: EventBus, _url: str) -> None:
        self.bus = bus
        self.js = bus.jetstream()

    async def publish(self, order: Order) -> Any:
        subject = f"{SUBJECT}.fund.{order.fund_id}"
        headers = {
            "NATS-Msg-Id": order.idempotency_key,
            "mts-schema": "mts1b_foundation.orders.Order:v1",
            "mts-source-repo": "mts1b-oms",
            "mts-actor": order.actor,
        }
        return await self.js.publish(subject, order.model_dump_json().encode(), headers=headers)

    @asynccontextmanager
    async def handling(
        self, handle: Handle, durable: str = DURABLE, *, once: bool = False
    ) -> AsyncGenerator[None, None]:
        store = KvDedupe(self.bus)
        sub = await self.js.subscribe(SUBJECT, durable=durable, manual_ack=True)

        async def read() -> None:
            async for msg in sub.messages:
                order = Order.model_validate_json(msg.data)
                try:
                    if once:
                        async with store.once(durable, order.idempotency_key):
                            await handle(order)
                    else:
                        await handle(order)
                except AlreadyDone:
                    await msg.ack()
                except Exception:  # noqa: BLE001 - as the first users were shown
                    await msg.nak(delay=0.05)
                else:
                    await msg.ack()

        task = asyncio.create_task(read())
        try:
            yield
        finally:
            await sub.unsubscribe()
            await asyncio.wait_for(task, PATIENCE)


SURFACES: dict[str, Callable[[EventBus, str], Surface]] = {
    "emit-consume": Typed,
    "service": Decorated,
    "ordered_by": Ordered,
    "service-ordered_by": DecoratedOrdered,
    "raw": Raw,
}
SHARING = [name for name in SURFACES if "ordered_by" not in name]
"""Those with which several instances may share a durable."""


@pytest.fixture(params=SURFACES)
def surface(request: pytest.FixtureRequest, bus: EventBus, nats_server: NatsServer) -> Surface:
    return SURFACES[request.param](bus, nats_server.url)


def order(number: int, **changes: Any) -> Order:
    return ORDER.model_copy(update={"order_id": f"order-{number}", "idempotency_key": f"intent-{number}", **changes})


class Book:
    """Remembers what was handled; fails as it is told."""

    def __init__(self, *, fail: Callable[[Order, int], bool] = lambda _order, _time: False) -> None:
        self.seen: list[str] = []
        self.done: list[str] = []
        self._fail = fail
        self._news = asyncio.Condition()

    async def __call__(self, order: Order) -> None:
        self.seen.append(order.order_id)
        if self._fail(order, self.seen.count(order.order_id)):
            raise ZeroDivisionError
        self.done.append(order.order_id)
        async with self._news:
            self._news.notify_all()

    async def has(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(self.done) >= count)


async def left(bus: EventBus, durable: str = DURABLE) -> int:
    """What the durable has not dealt with, once that stands still."""
    async with asyncio.timeout(PATIENCE):
        while True:
            info = await bus.jetstream().consumer_info("OMS_ORDERS", durable)
            if not info.num_ack_pending:
                return info.num_pending or 0
            await asyncio.sleep(0.02)


async def buried(bus: EventBus, count: int) -> list[Letter]:
    async with asyncio.timeout(PATIENCE):
        while len(found := await letters(bus)) < count:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.02)
    return found


async def test_what_is_published_is_handled_once_and_in_order(surface: Surface, bus: EventBus):
    book = Book()
    async with surface.handling(book):
        for number in range(20):
            await surface.publish(order(number))
        await book.has(20)
        assert await left(bus) == 0
    assert book.seen == [f"order-{number}" for number in range(20)]


async def test_publishing_again_is_stored_once_and_says_so(surface: Surface, bus: EventBus):
    first = await surface.publish(order(1))
    again = await surface.publish(order(1))
    assert again.duplicate
    assert again.seq == first.seq
    assert (await bus.jetstream().stream_info("OMS_ORDERS")).state.messages == 1


async def test_orders_of_every_fund_are_handled(surface: Surface, bus: EventBus):
    book = Book()
    async with surface.handling(book):
        for number, fund in enumerate(("alpha", "beta", "a.b>c")):
            await bus.emit(OMS_ORDERS_CREATED, order(number, fund_id=fund))
        await book.has(3)


async def test_what_failed_comes_again(surface: Surface, bus: EventBus):
    book = Book(fail=lambda _order, time: time < 3)
    async with surface.handling(book):
        await surface.publish(order(1))
        await book.has(1)
        assert await left(bus) == 0
    assert book.seen == ["order-1"] * 3


async def test_a_failing_order_does_not_hold_up_the_others_and_ends_as_a_dead_letter(surface: Surface, bus: EventBus):
    book = Book(fail=lambda order, _time: order.order_id == "order-0")
    async with surface.handling(book):
        for number in range(4):
            await surface.publish(order(number))
        await book.has(3)
        [letter] = await buried(bus, 1)
        assert await left(bus) == 0
    assert book.seen.count("order-0") == POLICY.max_deliveries
    assert letter.id == DeadLetter.id_for("OMS_ORDERS", 1, letter.letter.stored_at, DURABLE)
    assert letter.letter.reason is DeadLetterReason.MAX_DELIVERIES
    assert Order.model_validate_json(letter.letter.payload) == order(0)


@pytest.mark.parametrize(
    ("headers", "data"),
    [
        ({"mts-source-repo": "mts1b-oms"}, ORDER.model_dump_json().encode()),
        ({"mts-source-repo": "mts1b-oms", "mts-schema": "mts1b_foundation.orders.Order:v9"}, b"{}"),
        ({"mts-source-repo": "mts1b-oms", "mts-schema": "mts1b_foundation.orders.Order:v1"}, b"{}"),
        ({"mts-source-repo": "mts1b-evil", "mts-schema": "mts1b_foundation.orders.Order:v1"}, b"{}"),
    ],
    ids=["no schema", "another schema", "no order", "not the producer"],
)
async def test_what_is_no_order_reaches_no_handler_and_becomes_a_dead_letter(
    surface: Surface, bus: EventBus, headers: dict[str, str], data: bytes
):
    book = Book()
    async with surface.handling(book):
        await bus.plain_jetstream().publish(SUBJECT, data, headers=headers)
        await surface.publish(order(1))
        await book.has(1)
        [letter] = await buried(bus, 1)
    assert book.seen == ["order-1"]
    assert letter.letter.payload == data


async def test_a_reader_that_comes_back_goes_on_where_it_was(surface: Surface):
    first, second = Book(), Book()
    async with surface.handling(first):
        await surface.publish(order(1))
        await first.has(1)
    await surface.publish(order(2))
    async with surface.handling(second):
        await second.has(1)
    assert (first.seen, second.seen) == (["order-1"], ["order-2"])


@pytest.mark.parametrize("surface", SHARING, indirect=True)
async def test_two_instances_share_the_work(surface: Surface, connect_bus: ConnectBus, nats_server: NatsServer):
    make: Any = type(surface)
    other: Surface = make(await connect_bus(), nats_server.url)
    mine, theirs = Book(), Book()
    async with surface.handling(mine), other.handling(theirs):
        for number in range(60):
            await surface.publish(order(number))
        async with asyncio.timeout(PATIENCE):
            while len(mine.done) + len(theirs.done) < 60:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
    assert sorted(mine.seen + theirs.seen) == sorted(f"order-{number}" for number in range(60))


async def test_durables_do_not_disturb_each_other(surface: Surface):
    mine, theirs = Book(), Book()
    async with surface.handling(mine), surface.handling(theirs, "another"):
        await surface.publish(order(1))
        await mine.has(1)
        await theirs.has(1)


async def test_a_server_that_is_killed_and_restarted_is_waited_for(
    surface: Surface, bus: EventBus, nats_server: NatsServer
):
    book = Book()
    async with surface.handling(book):
        await surface.publish(order(1))
        await book.has(1)
        nats_server.kill()
        await nats_server.restart()
        await bus.wait_connected(PATIENCE)
        await bus.emit(OMS_ORDERS_CREATED, order(2))
        await book.has(2)
        if "order-2" not in book.seen:  # the first one came again, as its ack died with the server
            await book.has(3)
    assert set(book.seen) == {"order-1", "order-2"}


async def test_with_a_dedupe_store_an_intent_has_one_effect_however_often_it_is_stored(surface: Surface, bus: EventBus):
    book = Book()
    async with surface.handling(book, once=True):
        for number in range(3):
            await bus.emit(OMS_ORDERS_CREATED, order(1), msg_id=f"publish-{number}")
        await bus.emit(OMS_ORDERS_CREATED, order(2))
        await book.has(2)
        assert await left(bus) == 0
    assert book.done == ["order-1", "order-2"]
