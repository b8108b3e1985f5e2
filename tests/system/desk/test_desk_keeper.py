"""What a service has stored when it dies: all of an event or nothing of it, and never twice."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from mts1b_desk.cores.core import Core, Effects, NeedQuotes
from mts1b_desk.cores.research import Research
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.errors import Fatal
from mts1b_desk.services.feed import position
from mts1b_desk.services.keeper import Keeper
from mts1b_desk.settings import DeskSettings, FundSettings, StrategySettings
from mts1b_desk.state.sqlite import SqliteStore
from mts1b_foundation.fills import FillV2
from mts1b_foundation.marketdata import BarV2
from mts1b_foundation.orders import Side
from mts1b_foundation.subjects import (
    OMS_FILLS_CREATED_V2,
    RESEARCH_SIGNALS_PUBLISHED_V2,
    TREASURY_NAV_V2,
)
from mts1b_platform.eventbus import Consumer, Event, EventBus, connect
from mts1b_platform.eventbus.errors import AlreadyDone
from mts1b_platform.eventbus.protocol.envelope import TRACE_ID
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


def reader(bus: EventBus) -> Consumer[FillV2]:
    """The durable of the treasury, as the service reads it."""
    return bus.consume(OMS_FILLS_CREATED_V2, durable="treasury", ack_wait=2, ordered_by=lambda _: "")


async def delivered(bus: EventBus) -> Event[FillV2]:
    """The fill, as the durable of a service is given it; nobody acknowledges it."""
    return await anext(reader(bus))


async def with_those_behind(consumer: Consumer[FillV2], behind: int) -> tuple[Event[FillV2], Sequence[Event[FillV2]]]:
    """The next event, once so many wait behind it."""
    event = await anext(consumer)
    async with asyncio.timeout(60):
        while consumer.waiting < behind:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
    return event, await consumer.behind(event)


async def fill(servers: NatsServer, *names: str) -> None:
    """Fills that the treasury will be given."""
    async with await connect(servers.url, service="mts1b-oms") as oms:
        for name in names:
            await oms.emit(OMS_FILLS_CREATED_V2, FILL.model_copy(update={"fill_id": name, "execution_id": name}))


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


async def test_fills_that_wait_are_stored_with_the_one_before_them_and_passed_over_in_their_turn(
    streams: NatsServer, tmp_path: Path
):
    path = tmp_path / "treasury.db"
    await fill(streams, "paper.1", "paper.2", "paper.3")
    first = await connect(streams.url, service="mts1b-treasury")
    core = Treasury(SETTINGS)
    keeper = life(core, first, path)
    await keeper.open()
    consumer = reader(first)
    event, behind = await with_those_behind(consumer, 2)
    await keeper.handle(event, behind)
    assert core.book().funds["alpha"].fills == 3
    await keeper.waiting.open()
    traces = [row.headers[TRACE_ID] for row in await keeper.waiting.pending(10)]
    assert traces[-3:] == [each.trace_id for each in (event, *behind)], "each valuation is of the trace of its fill"
    assert not keeper.is_ahead(event)
    await event.ack()
    following = await anext(consumer)
    assert keeper.is_ahead(following)
    assert following is behind[0]
    await keeper.shut()
    await first.close()  # as a crash leaves it: two are not acknowledged

    async with await connect(streams.url, service="mts1b-treasury") as second:
        core = Treasury(SETTINGS)
        keeper = life(core, second, path)
        await keeper.open()
        assert core.book().funds["alpha"].fills == 3
        consumer = reader(second)
        for _ in range(2):
            again = await anext(consumer)
            assert not await consumer.behind(again), "each alone"
            with pytest.raises(AlreadyDone):
                await keeper.handle(again)
            await again.ack()
        assert core.book().funds["alpha"].fills == 3
        await keeper.shut()


async def test_a_fill_that_was_handled_before_keeps_none_of_its_group_from_being_stored(
    streams: NatsServer, tmp_path: Path
):
    await fill(streams, "paper.1", "paper.2", "paper.3")
    async with await connect(streams.url, service="mts1b-treasury") as bus:
        core = Treasury(SETTINGS)
        keeper = life(core, bus, tmp_path / "treasury.db")
        await keeper.open()
        event, behind = await with_those_behind(reader(bus), 2)
        await keeper.handle(behind[0])
        await keeper.handle(event, behind)
        assert core.book().funds["alpha"].fills == 3
        assert [keeper.is_ahead(each) for each in behind] == [False, True]
        await keeper.shut()


class Broken(Treasury):
    """A core that changes by the fill ``poison``, and then cannot handle it."""

    def __init__(self, settings: DeskSettings, poison: str) -> None:
        super().__init__(settings)
        whole = self.handlers[OMS_FILLS_CREATED_V2]

        def fail(fill: FillV2, at: datetime) -> Effects:
            effects = whole(fill, at)
            if fill.fill_id == poison:
                raise ValueError("this fill makes no sense")
            return effects

        self.handlers = {**self.handlers, OMS_FILLS_CREATED_V2: fail}


async def test_a_group_with_one_that_a_core_cannot_handle_leaves_nothing_behind_and_no_dead_letter(
    streams: NatsServer, tmp_path: Path
):
    path = tmp_path / "treasury.db"

    await fill(streams, "paper.1", "paper.2", "paper.3")
    async with await connect(streams.url, service="mts1b-treasury") as bus:
        keeper = life(Broken(SETTINGS, "paper.2"), bus, path)
        await keeper.open()
        event, behind = await with_those_behind(reader(bus), 2)
        with pytest.raises(Fatal, match="this fill makes no sense"):
            await keeper.handle(event, behind)
        assert not any(each.settled for each in (event, *behind)), "each comes again, and alone"
        await keeper.shut()
        core = Treasury(SETTINGS)
        keeper = life(core, bus, path)
        await keeper.open()
        assert core.book().funds["alpha"].fills == 0
        await keeper.handle(event)
        assert core.book().funds["alpha"].fills == 1
        await keeper.shut()


async def test_what_a_core_cannot_handle_is_a_dead_letter_and_leaves_nothing_behind(
    streams: NatsServer, tmp_path: Path
):
    path = tmp_path / "treasury.db"

    async with await connect(streams.url, service="mts1b-oms") as oms:
        await oms.emit(OMS_FILLS_CREATED_V2, FILL)
    async with await connect(streams.url, service="mts1b-treasury") as bus:
        keeper = life(Broken(SETTINGS, FILL.fill_id), bus, path)
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
