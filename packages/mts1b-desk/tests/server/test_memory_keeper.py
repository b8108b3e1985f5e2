"""A core whose state is in memory, on a real server: each event once, at rest when asked, and ended when it fails."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mts1b_desk.cores.core import NeedQuotes
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.errors import Fatal
from mts1b_desk.services.memory_keeper import MemoryKeeper, make_keeper
from mts1b_desk.settings import DeskSettings, Durability, FundSettings
from mts1b_desk.state.choose import make_store
from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.fills import FillV2
from mts1b_foundation.orders import Side
from mts1b_foundation.subjects import OMS_FILLS_CREATED_V2, TREASURY_NAV_V2, deadletters_of
from mts1b_platform.eventbus import Event, EventBus
from mts1b_platform.testing.bus import ConnectBus

PATIENCE = 60
AT = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)
SETTINGS = DeskSettings(
    session="s1", durability=Durability.RELAXED, funds=(FundSettings(fund_id="alpha", strategy="ma_cross"),)
)


def fill(name: str, **changes: Any) -> FillV2:
    values = {"fill_id": name, "order_id": f"o-{name}", "fund_id": "alpha", "symbol": "BTC/USD", "side": Side.BUY}
    numbers = {"quantity": Decimal(2), "price": Decimal(100), "fee": Decimal(1)}
    return FillV2(**values, **numbers, broker="paper", execution_id=name, executed_at=AT, **changes)


class Served:
    """A treasury whose state is in memory."""

    def __init__(self, core: Treasury, keeper: MemoryKeeper) -> None:
        self.core, self.keeper = core, keeper
        self.seen: list[str] = []

    @property
    def fills(self) -> int:
        return self.core.book().funds["alpha"].fills

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110 - a core tells nobody
                await asyncio.sleep(0.01)


@asynccontextmanager
async def treasury(connect_bus: ConnectBus) -> AsyncGenerator[tuple[Served, asyncio.Task[None]]]:
    bus = await connect_bus("mts1b-treasury")
    core = Treasury(SETTINGS)
    store = make_store("treasury", core.repo, SETTINGS, Path())
    keeper = make_keeper(core, store, bus, owner="test", need=list[NeedQuotes]().append)
    assert isinstance(keeper, MemoryKeeper)
    served = Served(core, keeper)
    await keeper.open()

    def handle(event: Event[FillV2]) -> Any:
        served.seen.append(event.payload.fill_id)
        return keeper.handle_at_once(event)

    follower = bus.follow(OMS_FILLS_CREATED_V2, name="treasury", handle=handle)
    publishing = asyncio.create_task(keeper.publish())
    reading = asyncio.create_task(follower.run())
    try:
        yield served, reading
    finally:
        await follower.stop()
        await keeper.close()
        await asyncio.wait((publishing, reading), timeout=PATIENCE)


async def test_an_event_is_booked_once_though_the_stream_holds_it_twice_and_what_follows_is_published(
    bus: EventBus, connect_bus: ConnectBus
):
    async with treasury(connect_bus) as (served, _):
        await bus.emit(OMS_FILLS_CREATED_V2, fill("1"))
        await bus.emit(OMS_FILLS_CREATED_V2, fill("1"), msg_id="published-after-the-window")
        await bus.emit(OMS_FILLS_CREATED_V2, fill("2"))
        await served.until(lambda: len(served.seen) == 3 and served.keeper.idle)
        assert served.fills == 2
    async with bus.consume(TREASURY_NAV_V2, durable="nav") as consumer:
        events = [await asyncio.wait_for(anext(consumer), PATIENCE) for _ in range(2)]
    assert [(event.payload.sequence, event.position.pending) for event in events] == [(1, 1), (2, 0)]


async def test_while_it_is_held_at_rest_events_wait_for_their_turn(bus: EventBus, connect_bus: ConnectBus):
    async with treasury(connect_bus) as (served, _):
        async with served.keeper.at_rest():
            await bus.emit(OMS_FILLS_CREATED_V2, fill("1"))
            await bus.emit(OMS_FILLS_CREATED_V2, fill("2"))
            await served.until(lambda: served.seen == ["1"])
            assert served.fills == 0
        await served.until(lambda: served.fills == 2 and served.keeper.idle)
        assert served.seen == ["1", "2"]


async def test_a_core_that_fails_stores_a_dead_letter_and_works_nothing_more(
    bus: EventBus, connect_bus: ConnectBus, monkeypatch: pytest.MonkeyPatch
):
    async with treasury(connect_bus) as (served, reading):

        def fails(*_: Any) -> Any:
            raise ValueError("half of it is booked")

        monkeypatch.setitem(served.core.handlers, OMS_FILLS_CREATED_V2, fails)  # pyright: ignore[reportArgumentType]
        await bus.emit(OMS_FILLS_CREATED_V2, fill("1"))
        await bus.emit(OMS_FILLS_CREATED_V2, fill("2"))
        with pytest.raises(Fatal, match="half of it is booked"):
            await asyncio.wait_for(reading, PATIENCE)
        with pytest.raises(Fatal, match="has failed"):
            await served.keeper.take([1], lambda _: (NeedQuotes("o1", "BTC/USD", AT),), int)
        with pytest.raises(Fatal, match="has failed"):
            await served.keeper.do(tuple)
        assert served.seen == ["1"]
    async with bus.consume(deadletters_of("mts1b-treasury"), durable="letters") as consumer:
        letter = (await asyncio.wait_for(anext(consumer), PATIENCE)).payload
        assert isinstance(letter, DeadLetter)
        assert "half of it is booked" in letter.error
