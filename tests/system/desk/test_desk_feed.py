"""Market data without loss: who missed quotes gets them again, from memory or by running the source again."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mts1b_desk.cores.marketdata import Marketdata
from mts1b_desk.data.source import open_source
from mts1b_desk.errors import DeskError
from mts1b_desk.protocol import HistoryRequest, Quotes, RetransmitRequest
from mts1b_desk.services.archive import Archive
from mts1b_desk.services.feed import Feed
from mts1b_desk.services.marketdata import MarketdataService
from mts1b_desk.services.requests import ask
from mts1b_desk.settings import DeskSettings, ReplaySettings
from mts1b_desk.state.sqlite import SqliteStore
from mts1b_desk.state.store import Store
from mts1b_foundation.marketdata import BarV2, QuoteV2, SessionClosedV2
from mts1b_foundation.subjects import MARKETDATA_BARS_V2, MARKETDATA_QUOTES_V2, MARKETDATA_SESSIONS_CLOSED_V2, Subject
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.server import NatsServer


@pytest.fixture
def desk_settings(quotes_csv: Path) -> DeskSettings:
    return DeskSettings(session="s1", source=ReplaySettings(path=quotes_csv), readers=())


def store_in(directory: Path) -> Store:
    return SqliteStore(directory / "marketdata.db", session="s1", repo="mts1b-marketdata", actor="test")


def everything(settings: DeskSettings) -> list[QuoteV2 | BarV2]:
    source = open_source(settings)
    core = Marketdata(settings, source.label)
    return [item for tick in source.ticks() for item in core.on_tick(tick)]


class Reader:
    """Reads one feed and remembers what it worked."""

    def __init__(self, bus: EventBus, subject: Subject[Any], interval: str | None = None) -> None:
        self.items: list[Any] = []
        self.feed: Feed[Any] = Feed(bus, subject, session="s1", interval=interval, work=self.work)

    async def work(self, items: Sequence[Any]) -> None:
        self.items += items


async def close_of(bus: EventBus) -> SessionClosedV2:
    async with bus.consume(MARKETDATA_SESSIONS_CLOSED_V2, durable="test", deliver="all") as consumer:
        event = await anext(consumer)
        await event.ack()
    return event.payload


async def test_a_reader_who_heard_nothing_gets_every_quote_and_bar_in_order(
    streams: NatsServer, desk_settings: DeskSettings, tmp_path: Path
):
    publisher = await connect(streams.url, service="mts1b-marketdata")
    service = MarketdataService(publisher, desk_settings, store_in(tmp_path))
    serving = asyncio.create_task(service.run())
    async with await connect(streams.url) as bus:
        closed = await close_of(bus)
        quotes, bars = Reader(bus, MARKETDATA_QUOTES_V2), Reader(bus, MARKETDATA_BARS_V2, "1s")
        running = [asyncio.create_task(reader.feed.run()) for reader in (quotes, bars)]
        await quotes.feed.finish(sum(mark.quotes for mark in closed.marks))
        await bars.feed.finish(sum(mark.bars["1s"] for mark in closed.marks))
    await asyncio.gather(*running)
    service.stop()
    await serving
    published = everything(desk_settings)
    assert quotes.items == [item for item in published if isinstance(item, QuoteV2)]
    assert bars.items == [item for item in published if isinstance(item, BarV2)]
    assert len(quotes.items) == 300
    assert quotes.feed.gaps >= 1


async def test_a_gap_in_the_middle_is_filled_before_what_follows(
    streams: NatsServer, desk_settings: DeskSettings, tmp_path: Path
):
    published = [item for item in everything(desk_settings) if isinstance(item, QuoteV2)]
    publisher = await connect(streams.url, service="mts1b-marketdata")
    service = MarketdataService(publisher, desk_settings, store_in(tmp_path))
    serving = asyncio.create_task(service.run())
    async with await connect(streams.url) as bus, await connect(streams.url, service="mts1b-marketdata") as loose:
        await close_of(bus)
        reader = Reader(bus, MARKETDATA_QUOTES_V2)
        await reader.feed.start()
        running = asyncio.create_task(reader.feed.run())
        for quote in (published[0], published[1], published[1], published[250]):
            await loose.emit(MARKETDATA_QUOTES_V2, quote)
        await loose.emit(
            MARKETDATA_QUOTES_V2, published[0].model_copy(update={"session": "another", "feed_sequence": 299})
        )
        await reader.feed.finish(251)
        assert reader.items == published[:251]
        assert reader.feed.taken == 251
    await running
    service.stop()
    await serving


async def test_what_no_service_has_any_more_is_refused_with_the_session_it_has(
    streams: NatsServer, desk_settings: DeskSettings, tmp_path: Path
):
    service = MarketdataService(
        await connect(streams.url, service="mts1b-marketdata"), desk_settings, store_in(tmp_path)
    )
    serving = asyncio.create_task(service.run())
    async with await connect(streams.url) as bus:
        await close_of(bus)
        request = RetransmitRequest(session="other", kind="quotes", first=1, last=2)
        with pytest.raises(DeskError, match="the session here is s1, not other"):
            await ask(bus, "marketdata", "retransmit", Quotes, request)
        since = everything(desk_settings)[0].model_dump()["timestamp"] + timedelta(seconds=5)
        history = await ask(
            bus, "marketdata", "history", Quotes, HistoryRequest(session="s1", symbol="BRK.B", since=since, after=100)
        )
        assert history.items
        assert all(q.symbol == "BRK.B" and q.timestamp >= since and (q.feed_sequence or 0) > 100 for q in history.items)
    service.stop()
    await serving


async def test_a_small_archive_gives_the_same_answers_as_a_large_one(desk_settings: DeskSettings):
    small, large = Archive(desk_settings, size=5), Archive(desk_settings, size=10_000)
    for item in everything(desk_settings):
        small.add(item)
        large.add(item)
    quote = (await large.quotes(40, 40))[0]
    for first, last in ((1, 3), (200, 299), (296, 300), (300, 400)):
        assert await small.quotes(first, last) == await large.quotes(first, last)
        assert [item.feed_sequence for item in await large.quotes(first, last)] == list(
            range(first, min(last, 300) + 1)
        )
    assert await small.bars("1s", 1, 9) == await large.bars("1s", 1, 9)
    for after in (0, 120, 299):
        assert await small.history(quote.symbol, quote.timestamp, after) == await large.history(
            quote.symbol, quote.timestamp, after
        )
