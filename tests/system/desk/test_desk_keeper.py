"""What a service has stored when it dies: all of an event or nothing of it, and never twice."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from mts1b_desk.cores.core import Core, NeedQuotes
from mts1b_desk.cores.research import Research
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.services.feed import position
from mts1b_desk.services.keeper import Keeper
from mts1b_desk.services.service import Fatal
from mts1b_desk.settings import DeskSettings, FundSettings, StrategySettings
from mts1b_desk.state.sqlite import SqliteStore
from mts1b_foundation.fills import FillV2
from mts1b_foundation.marketdata import BarV2
from mts1b_foundation.orders import Side
from mts1b_foundation.subjects import (
    MARKETDATA_SESSIONS_CLOSED_V2,
    OMS_FILLS_CREATED_V2,
    RESEARCH_SIGNALS_PUBLISHED_V2,
    TREASURY_NAV_V2,
)
from mts1b_platform.eventbus import Event, EventBus, connect
from mts1b_platform.eventbus.errors import AlreadyDone
from mts1b_platform.server import NatsServer

AT = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)
FILL = FillV2(
    fill_id="paper.1",
    order_id="o1",
    fund_id="alpha",
    symbol="BTC/USD",
    side=Side.BUY,
    quantity=Decimal(2),
    price=Decimal(100),
    fee=Decimal(1),
    broker="paper",
    execution_id="1",
    executed_at=AT,
)
SETTINGS = DeskSettings(
    session="s1",
    funds=(FundSettings(fund_id="alpha", strategy="ma_cross"),),
    strategies=(StrategySettings(fast=1, slow=2),),
)


def life(core: Core, bus: EventBus, path: Path) -> Keeper:
    """One life of a service whose state is in the file ``path``."""
    store = SqliteStore(path, session="s1", repo=core.repo, actor="test")
    return Keeper(core, store, bus, owner="test", need=list[NeedQuotes]().append)


async def delivered(bus: EventBus) -> Event[FillV2]:
    """The fill, as the durable of a service is given it; nobody acknowledges it."""
    consumer = bus.consume(OMS_FILLS_CREATED_V2, durable="treasury", ack_wait=2)
    return await anext(consumer)


def bar(number: int, close: float) -> BarV2:
    return BarV2(
        symbol="BTC/USD",
        interval="1s",
        start=AT,
        end=AT,
        open=close,
        high=close,
        low=close,
        close=close,
        quotes=1,
        sequence=number,
        session="s1",
        source="test",
        feed_sequence=number,
    )


async def test_a_fill_that_comes_again_after_a_crash_before_its_acknowledgement_is_booked_once(
    streams: NatsServer, tmp_path: Path
):
    path = tmp_path / "treasury.db"
    async with await connect(streams.url, service="mts1b-oms") as oms:
        await oms.emit(OMS_FILLS_CREATED_V2, FILL)
    first = await connect(streams.url, service="mts1b-treasury")
    keeper = life(Treasury(SETTINGS), first, path)
    await keeper.open()
    await keeper.handle(await delivered(first))
    await keeper.shut()
    await first.close()  # as a crash leaves it: nothing acknowledged, nothing published

    async with await connect(streams.url, service="mts1b-treasury") as second:
        core = Treasury(SETTINGS)
        keeper = life(core, second, path)
        await keeper.open()
        assert core.book().funds["alpha"].fills == 1
        again = await delivered(second)
        with pytest.raises(AlreadyDone):
            await keeper.handle(again)
        await again.ack()
        assert core.book().funds["alpha"].fills == 1
        assert core.book().funds["alpha"].cash == Decimal(100_000 - 201)
        publishing = asyncio.create_task(keeper.publish())
        async with second.consume(TREASURY_NAV_V2, durable="reader") as consumer, await anext(consumer) as event:
            assert (event.payload.fills, event.position.pending) == (1, 0)
        await keeper.close()
        await publishing
        await keeper.shut()


async def test_market_data_is_gone_on_with_behind_what_its_last_signal_was_stored_with(
    streams: NatsServer, tmp_path: Path
):
    path = tmp_path / "research.db"
    closes = [10.0, 11.0, 9.0, 12.0]
    async with await connect(streams.url, service="mts1b-research") as bus:
        core = Research(SETTINGS)
        keeper = life(core, bus, path)
        await keeper.open()
        for number, close in enumerate([10.0, 11.0, 11.0], 1):
            await keeper.take([bar(number, close)], core.on_bar, position)
        assert (keeper.taken, core.signals) == (3, 1)
        await keeper.shut()  # the third bar led to nothing and was not stored

        core = Research(SETTINGS)
        keeper = life(core, bus, path)
        await keeper.open()
        assert (keeper.taken, core.signals) == (2, 1)
        for number, close in enumerate(closes[2:], 3):
            await keeper.take([bar(number, close)], core.on_bar, position)
        assert (keeper.taken, core.signals) == (4, 3)
        publishing = asyncio.create_task(keeper.publish())
        found: list[str] = []
        async with bus.consume(RESEARCH_SIGNALS_PUBLISHED_V2, durable="reader") as consumer:
            while len(found) < 3:
                async with await anext(consumer) as event:
                    found.append(f"{event.payload.signal_id} {event.payload.direction.value}")
        await keeper.close()
        await publishing
        await keeper.shut()
    assert [each.rpartition(".")[2] for each in found] == ["1 long", "2 short", "3 long"]


async def test_what_a_core_cannot_handle_is_a_dead_letter_and_leaves_nothing_behind(
    streams: NatsServer, tmp_path: Path
):
    path = tmp_path / "treasury.db"

    class Broken(Treasury):
        def __init__(self, settings: DeskSettings) -> None:
            super().__init__(settings)
            whole = self.handlers[OMS_FILLS_CREATED_V2]

            def fail(fill: FillV2, at: datetime) -> object:
                whole(fill, at)
                raise ValueError("this fill makes no sense")

            self.handlers = {OMS_FILLS_CREATED_V2: fail, MARKETDATA_SESSIONS_CLOSED_V2: fail}  # type: ignore[dict-item]

    async with await connect(streams.url, service="mts1b-oms") as oms:
        await oms.emit(OMS_FILLS_CREATED_V2, FILL)
    async with await connect(streams.url, service="mts1b-treasury") as bus:
        keeper = life(Broken(SETTINGS), bus, path)
        await keeper.open()
        event = await delivered(bus)
        with pytest.raises(Fatal, match="this fill makes no sense"):
            await keeper.handle(event)
        assert event.settled
        await keeper.shut()
        core = Treasury(SETTINGS)
        keeper = life(core, bus, path)
        await keeper.open()
        assert core.book().funds["alpha"].fills == 0
        await keeper.shut()
        info = await bus.plain_jetstream().stream_info("DEADLETTERS")
        assert info.state.messages == 1
