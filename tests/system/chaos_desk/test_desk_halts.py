"""A halt means: from the moment that it is stored, nothing more is accepted; whatever the order management is doing."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from mts1b_desk.cores.core import Emit
from mts1b_desk.cores.oms import Oms
from mts1b_desk.cores.oms_rows import FundState, OpenOrder
from mts1b_desk.services.oms import OmsService
from mts1b_desk.settings import DeskSettings
from mts1b_desk.state.sqlite import SqliteStore
from mts1b_desk.tables import Table
from mts1b_foundation.orders import OrderV2, Side
from mts1b_foundation.subjects import OMS_ORDERS_ACCEPTED_V2, OMS_ORDERS_REJECTED_V2
from mts1b_operations.halt import halts_in_force, request_halt
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer

from .desk_chaos import desk_file
from .desk_halts import halt_repeatedly, read_streams

_AT = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)


@pytest.mark.slow(seconds=5)
async def test_nothing_is_accepted_after_a_halt_was_stored_under_load(nats_server: NatsServer, tmp_path: Path):
    async with await connect(nats_server.url) as bus:
        await apply_streams(bus)
    found = await halt_repeatedly(nats_server, tmp_path, desk_file(tmp_path / "desk.json"), halts=4)
    assert found.late == []
    assert found.held >= 3
    assert found.accepted >= 4
    assert len(found.obeyed) == len(found.asked)


def accepted_order(number: int) -> OrderV2:
    name = f"s1.ma_cross.BTC=2FUSD.{number}.alpha"
    return OrderV2(
        order_id=name,
        idempotency_key=name,
        fund_id="alpha",
        actor="ma_cross",
        symbol="BTC/USD",
        side=Side.BUY,
        quantity=Decimal(1),
        reference_price=Decimal(100),
        created_at=_AT,
        updated_at=_AT,
    ).accept(_AT)


async def stored_but_not_published(path: Path, order: OrderV2) -> None:
    """What an order management leaves behind that was killed between storing an acceptance and publishing it."""
    store = SqliteStore(path, session="s1", repo="mts1b-oms", actor="test")
    await store.open()
    orders: Table[OpenOrder] = Table("orders", OpenOrder)
    orders[order.order_id] = OpenOrder(order=order)
    funds: Table[FundState] = Table("funds", FundState)
    funds["alpha"] = FundState(working=order.order_id)
    async with store.transaction() as tx:
        changes = [*orders.changes(), *funds.changes()]
        await store.write(tx, changes, [(Emit(OMS_ORDERS_ACCEPTED_V2, order), None)])
    await store.close()


async def started(bus: EventBus, path: Path) -> tuple[OmsService, asyncio.Task[None]]:
    store = SqliteStore(path, session="s1", repo="mts1b-oms", actor="test")
    settings = DeskSettings(session="s1")
    service = OmsService(Oms(settings), bus, settings, store)
    return service, asyncio.create_task(service.run())


async def test_an_acceptance_that_a_crash_kept_from_its_stream_is_taken_back_when_a_halt_came_first(
    nats_server: NatsServer, tmp_path: Path
):
    order = accepted_order(1)
    await stored_but_not_published(tmp_path / "oms.db", order)
    async with await connect(nats_server.url, service="mts1b-operations") as operations:
        await apply_streams(operations)
        await request_halt(operations, fund_id="alpha", reason="test", actor="test")
        service, running = await started(await connect(nats_server.url, service="mts1b-oms"), tmp_path / "oms.db")
        async with (
            operations.consume(OMS_ORDERS_REJECTED_V2, durable="test") as rejected,
            await anext(rejected) as event,
        ):
            assert event.payload.order_id == order.order_id
            assert "halted" in (event.payload.rejected_reason or "")
        service.stop()
        await running
        assert (await read_streams(operations)).accepted == 0
        assert [set(halt.obeyed) for halt in await halts_in_force(operations)] == [{"mts1b-oms"}]


async def test_an_acceptance_that_its_stream_has_is_not_taken_back(nats_server: NatsServer, tmp_path: Path):
    order = accepted_order(1)
    await stored_but_not_published(tmp_path / "oms.db", order)
    async with await connect(nats_server.url, service="mts1b-operations") as operations:
        await apply_streams(operations)
        async with await connect(nats_server.url, service="mts1b-oms") as before:
            await before.emit(OMS_ORDERS_ACCEPTED_V2, order)
        await request_halt(operations, fund_id=None, reason="test", actor="test")
        service, running = await started(await connect(nats_server.url, service="mts1b-oms"), tmp_path / "oms.db")
        while not service.ready:  # noqa: ASYNC110 - there is nothing to wait on but the flag
            await asyncio.sleep(0.01)
        book = service.core.book()
        assert book.funds["alpha"].orders == {"accepted": 1}
        service.stop()
        await running
        found = await read_streams(operations)
        assert (found.accepted, found.late) == (1, [])


async def test_without_a_halt_what_a_crash_left_behind_is_published(nats_server: NatsServer, tmp_path: Path):
    order = accepted_order(1)
    await stored_but_not_published(tmp_path / "oms.db", order)
    async with await connect(nats_server.url) as reader:
        await apply_streams(reader)
        service, running = await started(await connect(nats_server.url, service="mts1b-oms"), tmp_path / "oms.db")
        async with reader.consume(OMS_ORDERS_ACCEPTED_V2, durable="test") as accepted, await anext(accepted) as event:
            assert event.payload == order
        service.stop()
        await running
