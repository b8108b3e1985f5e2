"""Wrong uses of Service, consume, listen and emit: every statement below a line `# wrong: …` is a type error.

Never run: `test_typing.py` has pyright and mypy read it, each of which must find an error in every such statement and
nowhere else.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiosqlite
from mts1b_foundation.fills import Fill
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.orders import Order
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Ack, Event, EventBus, LiveEvent, RetryPolicy
from mts1b_platform.eventbus.dedupe.kv import KvDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.service import Service

service = Service("mts1b-alpha", connect_timeout=5.0, drain_budget=2.0)
books = SqliteDedupe("books.db")


async def take_order(event: Event[Order]) -> None:
    print(event.payload.order_id)


async def take_fill(event: Event[Fill]) -> None:
    print(event.payload.fill_id)


async def book_fill(event: Event[Fill], tx: aiosqlite.Connection) -> None:
    await tx.execute("INSERT INTO fills VALUES (?)", (event.payload.fill_id,))


async def book_as_text(event: Event[Fill], tx: str) -> None:
    print(event, tx)


def book_in_a_thread(event: Event[Fill], tx: aiosqlite.Connection) -> None:
    print(event, tx)


async def take_quote(event: LiveEvent[Quote]) -> None:
    print(event.payload.bid)


async def take_stored_quote(event: Event[Quote]) -> None:
    print(event.seq)


async def takes_nothing() -> None: ...


async def takes_something(number: int) -> None:
    print(number)


async def yields(event: Event[Order]) -> AsyncIterator[Order]:
    yield event.payload


# What is right is no error, and a decorated handler keeps its type.


@service.consumes(OMS_ORDERS_CREATED, durable="own", ordered_by=lambda order: order.fund_id, where={"fund_id": "alpha"})
async def right_by_a_function(event: Event[Order]) -> None:
    print(event.payload.order_id)


@service.consumes(OMS_ORDERS_CREATED, durable="orders", fund_id="alpha", concurrency=2, ordered_by="order_id")
async def right_order(event: Event[Order]) -> None:
    print(event.payload.order_id)


@service.consumes(OMS_FILLS_CREATED, durable="fills", dedupe=books, policy=RetryPolicy(max_deliveries=2))
async def right_fill(event: Event[Fill], tx: aiosqlite.Connection) -> None:
    await tx.execute("INSERT INTO fills VALUES (?)", (event.payload.fill_id,))


@service.consumes(OMS_FILLS_CREATED, durable="kept", dedupe=KvDedupe)
async def right_with_a_bucket(event: Event[Fill], tx: object) -> None:
    print(event.payload.fill_id, tx)


@service.consumes(OMS_ORDERS_CREATED, durable="plain", deliver=datetime(2026, 1, 1, tzinfo=UTC))
def right_in_a_thread(event: Event[Order]) -> None:
    print(event.payload.order_id)


@service.listens(MARKETDATA_QUOTES, symbol="BTC/USDT", conflate=True)
async def right_quote(event: LiveEvent[Quote]) -> None:
    print(event.payload.bid)


@service.every(5.0)
async def right_tick() -> None: ...


@service.on_start
async def right_hook() -> None: ...


async def right_by_hand(bus: EventBus, order: Order, event: Event[Order], fill: Event[Fill]) -> None:
    await right_order(event)
    await right_tick()
    ack: Ack = await bus.emit(OMS_ORDERS_CREATED, order, cause=event)
    print(ack.seq)
    async for one in bus.consume(OMS_ORDERS_CREATED, durable="d", fund_id="alpha", prefetch=10):
        async with one:
            print(one.payload.order_id, fill.payload.fill_id)


async def wrong(bus: EventBus, order: Order, fill: Fill, quote: Quote, event: Event[Order]) -> None:
    # wrong: the handler takes another payload than the subject carries
    service.consumes(OMS_ORDERS_CREATED, durable="d")(take_fill)

    # wrong: a store hands out a transaction, which the handler does not take
    service.consumes(OMS_FILLS_CREATED, durable="d", dedupe=books)(take_fill)

    # wrong: there is no store that would hand out a transaction
    service.consumes(OMS_FILLS_CREATED, durable="d")(book_fill)

    # wrong: the store hands out a connection
    service.consumes(OMS_FILLS_CREATED, durable="d", dedupe=books)(book_as_text)

    # wrong: the transaction cannot be used in a thread
    service.consumes(OMS_FILLS_CREATED, durable="d", dedupe=books)(book_in_a_thread)

    # wrong: an asynchronous generator does nothing when it is called
    service.consumes(OMS_ORDERS_CREATED, durable="d")(yields)

    # wrong: a handler takes the event
    service.consumes(OMS_ORDERS_CREATED, durable="d")(takes_nothing)

    # wrong: quotes are stored nowhere
    service.consumes(MARKETDATA_QUOTES, durable="d")(take_stored_quote)

    # wrong: durable is missing
    service.consumes(OMS_ORDERS_CREATED)(take_order)

    # wrong: prefetch is misspelt
    service.consumes(OMS_ORDERS_CREATED, durable="d", prefech=100)(take_order)

    # wrong: concurrency is misspelt
    service.consumes(OMS_ORDERS_CREATED, durable="d", concurency=4)(take_order)

    # wrong: dedupe is misspelt
    service.consumes(OMS_FILLS_CREATED, durable="d", dedup=books)(book_fill)

    # wrong: ordered_by is misspelt
    service.consumes(OMS_ORDERS_CREATED, durable="d", orderd_by="order_id")(take_order)

    # wrong: fund_id is misspelt
    service.consumes(OMS_ORDERS_CREATED, durable="d", fund="alpha")(take_order)

    # wrong: the retry policy is one
    service.consumes(OMS_ORDERS_CREATED, durable="d", policy=3)(take_order)

    # wrong: deliver is "all", "new" or a time
    service.consumes(OMS_ORDERS_CREATED, durable="d", deliver="latest")(take_order)

    # wrong: instances is "one" or "standby"
    service.consumes(OMS_ORDERS_CREATED, durable="d", ordered_by="order_id", instances="two")(take_order)

    # wrong: the subjects of one reader carry one payload
    service.consumes(OMS_ORDERS_CREATED, OMS_FILLS_CREATED, durable="d")(take_order)

    # wrong: symbol is misspelt
    service.listens(MARKETDATA_QUOTES, symbl="BTC/USDT")(take_quote)

    # wrong: a listener hands out live events, which are not settled
    service.listens(MARKETDATA_QUOTES)(take_stored_quote)

    # wrong: the handler takes another payload
    service.listens(OMS_FILLS_CREATED)(take_quote)

    # wrong: conflate is misspelt
    service.listens(MARKETDATA_QUOTES, conflat=True)(take_quote)

    # wrong: limit is a number
    service.listens(MARKETDATA_QUOTES, limit="many")(take_quote)

    # wrong: a name is no registered subject
    service.listens("mts.v1.marketdata.quotes.BTC")(take_quote)

    # wrong: what is called every so often is given nothing
    service.every(1.0)(takes_something)

    # wrong: seconds are a number
    service.every("1s")(takes_nothing)

    # wrong: a hook is given nothing
    service.on_start(takes_something)

    # wrong: an option that connect() does not have
    Service("mts1b-alpha", conect_timeout=3.0)

    # wrong: the drain budget is in seconds
    Service("mts1b-alpha", drain_budget="10s")

    # wrong: a decorated handler still takes what it took
    await right_order(quote)

    # wrong: durable is missing
    bus.consume(OMS_ORDERS_CREATED)

    # wrong: quotes are stored nowhere
    bus.consume(MARKETDATA_QUOTES, durable="d")

    # wrong: prefetch is misspelt
    bus.consume(OMS_ORDERS_CREATED, durable="d", prefech=100)

    # wrong: deliver is misspelt
    bus.consume(OMS_ORDERS_CREATED, durable="d", delivr="new")

    # wrong: deliver is "all", "new" or a time
    bus.consume(OMS_ORDERS_CREATED, durable="d", deliver="latest")

    # wrong: the subjects of one reader carry one payload
    bus.consume(OMS_ORDERS_CREATED, OMS_FILLS_CREATED, durable="d")

    # wrong: the handler takes another payload
    await bus.consume(OMS_ORDERS_CREATED, durable="d").run(take_fill)

    # wrong: an order has no such field
    print((await anext(bus.consume(OMS_ORDERS_CREATED, durable="d"))).payload.fill_id)

    # wrong: a live event is not settled
    await (await anext(bus.listen(MARKETDATA_QUOTES))).ack()

    # wrong: the callback takes another payload
    bus.listen(OMS_FILLS_CREATED, take_quote)

    # wrong: conflate is misspelt
    bus.listen(MARKETDATA_QUOTES, conflat=True)

    # wrong: group is misspelt
    bus.listen(MARKETDATA_QUOTES, grup="one")

    # wrong: limit is a number
    bus.listen(MARKETDATA_QUOTES, limit="many")

    # wrong: the subject carries orders
    await bus.emit(OMS_ORDERS_CREATED, fill)

    # wrong: the subject carries quotes
    await bus.emit(MARKETDATA_QUOTES, order)

    # wrong: a name is no registered subject
    await bus.emit("mts.v1.oms.orders.created", order)

    # wrong: a best-effort event has no ack
    print((await bus.emit(MARKETDATA_QUOTES, quote)).seq)

    # wrong: the cause is an event, not its payload
    await bus.emit(OMS_ORDERS_CREATED, order, cause=event.payload)

    # wrong: deadline is misspelt
    await bus.emit(OMS_ORDERS_CREATED, order, deadlin=5.0)

    # wrong: an event is not a payload
    await bus.emit(OMS_ORDERS_CREATED, event)

    # wrong: one of the events is a fill
    await bus.emit_many(OMS_ORDERS_CREATED, [order, fill])
