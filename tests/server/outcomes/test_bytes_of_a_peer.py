"""Whatever bytes the server delivers have one outcome each: handled, or a dead letter; and the reader lives."""

import asyncio
from typing import Any

import pytest
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event
from outcome_readers import SURFACES, reading
from outcome_world import ENVELOPE, PATIENCE, SUBJECT, World, ask_server, eventually, header_block, order

PLAIN = header_block({**ENVELOPE, "Nats-Msg-Id": "intent-0"})
TWO_IDS = header_block({**ENVELOPE, "Nats-Msg-Id": "intent-0"}) + b"Nats-Msg-Id: another\r\n"
BODY = order(0).model_dump_json().encode()


@pytest.mark.parametrize("byte", [b"\x0b", b"\x0c"], ids=["VT", "FF"])
@pytest.mark.parametrize("surface", [*SURFACES, "raw"])
async def test_a_subject_may_hold_any_byte_but_space_and_tab(surface: str, byte: bytes, world: World):
    await world.publish(b"mts.v1.oms.orders.created.fund.a%bb" % byte, PLAIN, b"{}")
    await world.emit(1)
    async with reading(world, surface) as reader:
        assert await world.settled(), repr(reader.failure)
    assert reader.handled == ["order-1"]
    assert [letter.sequence for letter in await world.letters()] == [1]


@pytest.mark.parametrize("byte", [b"\x0b", b"\x0c"], ids=["VT", "FF"])
async def test_who_listens_is_not_disconnected_by_a_subject(byte: bytes, world: World):
    heard: list[str] = []

    async def listen() -> None:
        async for event in (await world.connect()).listen(OMS_ORDERS_CREATED):
            heard.append(event.payload.order_id)  # noqa: PERF401 - looked at while the loop runs

    async def connections() -> int:
        return (await asyncio.to_thread(ask_server, world.server, "/varz"))["total_connections"]

    async def hears() -> bool:
        await world.emit(len(heard))
        return bool(heard)

    listening = asyncio.create_task(listen())
    try:
        assert await eventually(hears, PATIENCE)
        heard.clear()
        await world.publish(b"mts.v1.oms.orders.created.fund.a%bb" % byte, PLAIN, BODY)
        before = await connections()
        await world.emit(1000)
        assert await world.comes(lambda: "order-1000" in heard)
        assert await connections() == before
    finally:
        listening.cancel()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (PLAIN + b"mts-only-durable: books\r\nmts-only-durable: books\r\n", BODY),
        (PLAIN + b"mts-only-durable: b\xff\r\n", BODY),
        (PLAIN + b"mts-trace-id: \x1fabc \r\n", b"{}"),
    ],
    ids=["only-durable twice", "only-durable no UTF-8", "control in trace id"],
)
@pytest.mark.parametrize("surface", [*SURFACES, "raw"])
async def test_headers_of_any_kind_do_not_end_the_reader(surface: str, headers: bytes, body: bytes, world: World):
    await world.publish(SUBJECT.encode(), headers, body)
    await world.emit(1)
    async with reading(world, surface) as reader:
        assert await world.settled(), repr(reader.failure)
    assert "order-1" in reader.handled
    assert ("order-0" in reader.handled) != bool(await world.letters())


@pytest.mark.parametrize("what", ["fails", "emits"])
@pytest.mark.parametrize(
    ("surface", "concurrency"), [("consume", 1), ("ordered_by", 1), ("Service", 1), ("Service", 2)]
)
async def test_a_doubled_message_id_does_not_end_the_reader(surface: str, concurrency: int, what: str, world: World):
    async def work(event: Event[Any]) -> None:
        if event.payload.order_id == "order-0" and what == "fails":
            raise ZeroDivisionError
        if event.payload.order_id == "order-0":
            await world.bus.emit(OMS_ORDERS_CREATED, order(2), cause=event)

    await world.publish(SUBJECT.encode(), TWO_IDS, BODY)
    await world.emit(1)
    async with reading(world, surface, work, concurrency=concurrency) as reader:
        assert await eventually(lambda: "order-1" in reader.handled, world.patience), repr(reader.failure)
        assert await world.settled(), repr(reader.failure)
    assert ("order-0" in reader.handled) != bool(await world.letters())
