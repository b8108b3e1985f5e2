"""Market data that somebody replays on the bus: makes the bars of the quotes that it hears, and nothing more.

It publishes no quote. What it heard it keeps for readers that missed some; what it missed itself nobody can give it.
"""

from collections.abc import Iterator

from mts1b_foundation.marketdata import BarV2, QuoteV2
from mts1b_foundation.subjects import MARKETDATA_BARS_V2, MARKETDATA_QUOTES_V2, MARKETDATA_SESSIONS_CLOSED_V2
from mts1b_platform.eventbus import Listener
from mts1b_platform.logs import get_logger
from pydantic import BaseModel

from mts1b_desk.data.bounds import bookable, near_enough
from mts1b_desk.data.tick import BarTick, Source, Tick
from mts1b_desk.errors import DeskError, Fatal
from mts1b_desk.services.marketdata import MarketdataService
from mts1b_desk.services.service import Job

log = get_logger("mts1b.desk.marketdata")


class HeardMarket(MarketdataService):
    """The market data of a desk that runs on replayed quotes."""

    _heard: Listener[QuoteV2]

    async def prepare(self) -> None:
        """Listen, before the service says that it is there.

        Raises:
            DeskError: an earlier life of the service has heard a part.
        """
        await super().prepare()
        if self._before:
            raise DeskError("a run on replayed quotes cannot be gone on with: begin another, and replay them once more")
        self._heard = self.bus.listen(MARKETDATA_QUOTES_V2, limit=1_000_000)
        await self._heard.start()

    def jobs(self) -> list[Job]:
        """Following the quotes, and hearing the end of the session."""
        return [self._follow, self._end]

    def _open(self) -> Source:
        return _Elsewhere()

    async def _follow(self) -> None:
        async for heard in self._heard:
            quote = heard.payload
            position = quote.feed_sequence or 0
            if quote.session != self.settings.session or position <= self._core.quotes:
                continue
            if position > self._core.quotes + 1:
                raise Fatal(
                    f"the quotes {self._core.quotes + 1} to {position - 1} of the replay were missed: begin another "
                    "run, and replay them once more, slower"
                )
            if min(quote.bid, quote.ask) <= 0 and quote.symbol not in self.settings.signed_prices:
                raise Fatal(
                    f"quote {position} of the replay has a price of {quote.symbol} that is not positive ({quote.bid:g} "
                    f"bid, {quote.ask:g} ask): begin another run with --signed-prices {quote.symbol} if that is right"
                )
            if not (bookable(quote.bid) and bookable(quote.ask) and near_enough(quote.bid, quote.ask)):
                raise Fatal(
                    f"quote {position} of the replay has prices of {quote.symbol} that cannot be booked ({quote.bid:g} "
                    f"bid, {quote.ask:g} ask): begin another run, and replay others"
                )
            for item in self._core.on_tick(_tick(quote)):
                self._archive.add(item if isinstance(item, BarV2) else quote)
                if isinstance(item, BarV2):
                    await self.bus.emit(MARKETDATA_BARS_V2, item, trace_id=heard.trace_id)
            self._time = quote.timestamp
            if self._complete:
                break
        if self._core.quotes:
            await self._tell_prices()
        if not self._closed and self._core.quotes:  # somebody closes the session before its end
            await self.bus.emit(MARKETDATA_SESSIONS_CLOSED_V2, self._core.close())
        self._closed = True

    async def _close(self, _: bytes) -> BaseModel:
        await self._heard.stop()
        return self.status()

    async def _end(self) -> None:
        """The session's own end is replayed behind its quotes."""
        async with self.bus.listen(MARKETDATA_SESSIONS_CLOSED_V2) as ends:
            async for end in ends:
                if end.payload.session == self.settings.session:
                    self._last = sum(mark.quotes for mark in end.payload.marks)
                    if self._complete:
                        await self._heard.stop()
                    return

    @property
    def _complete(self) -> bool:
        if self._last is not None and self._core.quotes >= self._last:
            if not self._closed:
                log.info("session closed", quotes=self._core.quotes, bars=self._core.bars)
            self._closed = True
        return self._closed


class _Elsewhere:
    """No source of this service's own."""

    label = "heard"

    def ticks(self) -> Iterator[Tick | BarTick]:
        """None."""
        return iter(())


def _tick(quote: QuoteV2) -> Tick:
    return Tick(quote.symbol, quote.timestamp, quote.bid, quote.ask, quote.bid_size, quote.ask_size)
