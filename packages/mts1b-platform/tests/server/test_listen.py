"""What `listen` promises: bounded memory, the stated policy when the reader is slow, everything counted."""

import asyncio
import time

import pytest
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, MARKETDATA_QUOTES_V2, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import ConsumeError, EventBus, InvalidArgument, Listener, LiveEvent
from mts1b_platform.testing.bus import ConnectBus

WAIT = 60.0


def quote(number: int, symbol: str = "BTC/USDT") -> Quote:
    return QUOTE.model_copy(update={"symbol": symbol, "sequence": number})


async def market(connect_bus: ConnectBus) -> EventBus:
    return await connect_bus("mts1b-marketdata")


async def numbers(listener: Listener[Quote], count: int) -> list[int]:
    return [(await asyncio.wait_for(anext(listener), WAIT)).payload.sequence for _ in range(count)]


async def test_one_symbol_or_all(bus: EventBus, connect_bus: ConnectBus):
    source = await market(connect_bus)
    async with bus.listen(MARKETDATA_QUOTES, symbol="BRK.B") as one, bus.listen(MARKETDATA_QUOTES) as every:
        await source.emit(MARKETDATA_QUOTES, quote(1))
        await source.emit(MARKETDATA_QUOTES, quote(2, "BRK.B"))
        assert await numbers(one, 1) == [2]
        assert await numbers(every, 2) == [1, 2]


async def test_a_reader_of_a_subject_that_is_replaced_is_warned_once(bus: EventBus, caplog: pytest.LogCaptureFixture):
    for _ in range(2):
        async with bus.listen(MARKETDATA_QUOTES), bus.listen(MARKETDATA_QUOTES_V2):
            pass
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1
    assert MARKETDATA_QUOTES_V2.pattern in f"{said[0]} {caplog.records[0].__dict__}"


async def test_a_slow_reader_loses_the_oldest_and_is_told_how_many(bus: EventBus, connect_bus: ConnectBus):
    source = await market(connect_bus)
    async with bus.listen(MARKETDATA_QUOTES, limit=10) as slow:
        for number in range(1, 101):
            await source.emit(MARKETDATA_QUOTES, quote(number))
        await source.flush()
        await bus.flush()
        assert await numbers(slow, 10) == list(range(91, 101))
        assert slow.dropped == 90
    assert bus.counters.slow_consumer_drops == {MARKETDATA_QUOTES.pattern: 90}


async def test_a_reader_that_is_seconds_behind_keeps_its_connection(connect_bus: ConnectBus):
    source, reader = await market(connect_bus), await connect_bus(ping_interval=0.05)
    heard = list[int]()

    async def hear() -> None:
        async for event in behind:
            heard.append(event.payload.sequence)
            time.sleep(0.0003)  # noqa: ASYNC251 - a reader that computes all the time
            if len(heard) == 4000:
                return

    async with reader.listen(MARKETDATA_QUOTES, limit=10_000) as behind:
        await reader.flush()
        hearing = asyncio.create_task(hear())
        for number in range(1, 4001):
            assert source.publisher(MARKETDATA_QUOTES).send_volatile(quote(number))
        await asyncio.wait_for(hearing, WAIT)
    assert heard == list(range(1, 4001))
    assert reader.counters.disconnects == 0


async def test_conflation_keeps_the_latest_of_each_symbol(bus: EventBus, connect_bus: ConnectBus):
    source = await market(connect_bus)
    async with bus.listen(MARKETDATA_QUOTES, conflate=True) as latest:
        for number in range(1, 51):
            await source.emit(MARKETDATA_QUOTES, quote(number, "BTC/USDT"))
            await source.emit(MARKETDATA_QUOTES, quote(number, "ETH/USDT"))
        await source.flush()
        await bus.flush()
        heard = [await asyncio.wait_for(anext(latest), WAIT) for _ in range(2)]
        assert {(h.payload.symbol, h.payload.sequence) for h in heard} == {("BTC/USDT", 50), ("ETH/USDT", 50)}
        assert latest.dropped == 98


async def test_a_message_with_a_foreign_schema_is_counted_and_skipped(bus: EventBus, connect_bus: ConnectBus):
    source = await market(connect_bus)
    async with bus.listen(MARKETDATA_QUOTES) as heard:
        await source.publish("mts.v1.marketdata.quotes.BTC", b"{}")
        await source.emit(MARKETDATA_QUOTES, quote(1))
        assert await numbers(heard, 1) == [1]
    assert bus.counters.schema_mismatch == {MARKETDATA_QUOTES.pattern: 1}


async def test_durable_subjects_can_be_listened_to_as_they_pass(bus: EventBus):
    async with bus.listen(OMS_ORDERS_CREATED, fund_id="alpha") as heard:
        await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"fund_id": "beta", "idempotency_key": "b"}))
        await bus.emit(OMS_ORDERS_CREATED, ORDER)
        event = await asyncio.wait_for(anext(heard), WAIT)
    assert event.payload == ORDER
    assert event.parameters == {"fund_id": "alpha"}


async def test_a_listener_ends_when_the_bus_is_drained(bus: EventBus):
    listener = bus.listen(MARKETDATA_QUOTES)
    await listener.start()
    waiting = asyncio.create_task(anext(listener))
    await asyncio.sleep(0)
    await bus.drain()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, WAIT)


async def test_a_callback_is_given_every_event_in_order(bus: EventBus, connect_bus: ConnectBus):
    source = await market(connect_bus)
    received = list[int]()
    async with bus.listen(MARKETDATA_QUOTES, lambda event: received.append(event.payload.sequence), symbol="BTC/USDT"):
        for number in range(1, 101):
            await source.emit(MARKETDATA_QUOTES, quote(number))
        await source.emit(MARKETDATA_QUOTES, quote(101, "ETH/USDT"))
        await source.flush()
        await bus.flush()
    assert received == list(range(1, 101))
    assert bus.counters.consumed == {MARKETDATA_QUOTES.pattern: 100}
    assert not bus.readers


async def test_an_error_of_a_callback_is_counted_and_costs_its_own_event(
    bus: EventBus, connect_bus: ConnectBus, caplog: pytest.LogCaptureFixture
):
    source = await market(connect_bus)
    received = list[int]()

    def take(event: LiveEvent[Quote]) -> None:
        if event.payload.sequence == 2:
            raise ValueError("no such price")
        received.append(event.payload.sequence)

    async with bus.listen(MARKETDATA_QUOTES, take):
        for number in range(1, 4):
            await source.emit(MARKETDATA_QUOTES, quote(number))
        await source.flush()
        await bus.flush()
    assert received == [1, 3]
    assert bus.counters.consume_errors == {MARKETDATA_QUOTES.pattern: 1}
    assert "no such price" in caplog.text
    assert "BTC=2FUSDT" in caplog.text


async def test_a_listener_with_a_callback_is_not_iterated_and_not_conflated(bus: EventBus):
    with pytest.raises(ValueError, match="conflate"):
        bus.listen(MARKETDATA_QUOTES, print, conflate=True)
    with pytest.raises(ConsumeError, match="callback"):
        await anext(bus.listen(MARKETDATA_QUOTES, print))


async def test_of_a_group_one_is_handed_each_event_and_everybody_else_gets_all(connect_bus: ConnectBus):
    source = await market(connect_bus)
    first, second, other = await connect_bus(), await connect_bus(), await connect_bus()
    called: list[int] = []
    async with (
        first.listen(MARKETDATA_QUOTES, group="pricers") as one,
        second.listen(MARKETDATA_QUOTES, lambda event: called.append(event.payload.sequence), group="pricers"),
        other.listen(MARKETDATA_QUOTES) as alone,
    ):
        for number in range(1, 201):
            await source.emit(MARKETDATA_QUOTES, quote(number, f"S{number % 7}"))
        assert await numbers(alone, 200) == list(range(1, 201))
        for each in (first, second):  # what the server had sent before is here
            await each.flush()
        iterated = await numbers(one, 200 - len(called))
    assert called
    assert iterated
    assert sorted(called + iterated) == list(range(1, 201))


@pytest.mark.parametrize("group", ["", "two words", "a.*", 7])
async def test_a_group_that_is_no_name_is_refused(bus: EventBus, group: str):
    with pytest.raises(InvalidArgument, match="give a name of 1 to 64"):
        bus.listen(MARKETDATA_QUOTES, group=group)
