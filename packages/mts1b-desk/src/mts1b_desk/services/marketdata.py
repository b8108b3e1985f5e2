"""Market data as a service: replays a source at its pace, retransmits what readers missed, and closes the session.

At full speed it stays at most a window ahead of the readers that the settings name, so that a replay is lossless in
practice and memory is bounded; correctness does not depend on it, as readers fetch again what they miss.

What it publishes is a function of its source. So all it keeps is how far it was, at the least: started again it runs
its source up to there without publishing, and goes on; readers ignore what they have.
"""

import asyncio
from datetime import datetime

from mts1b_foundation.marketdata import QuoteV2
from mts1b_foundation.subjects import (
    MARKETDATA_BARS_V2,
    MARKETDATA_QUOTES_V2,
    MARKETDATA_SESSIONS_CLOSED_V2,
    MARKETDATA_SESSIONS_SAMPLED,
)
from mts1b_platform.eventbus import AccessDenied, EventBus, PublishError
from mts1b_platform.eventbus.events.trace import new_trace_id
from mts1b_platform.logs import get_logger
from pydantic import BaseModel

from mts1b_desk.cores.marketdata import Marketdata
from mts1b_desk.data.digest import check_unchanged
from mts1b_desk.data.source import open_source
from mts1b_desk.data.tick import BarTick, Source, Tick
from mts1b_desk.errors import DeskError
from mts1b_desk.ids import token
from mts1b_desk.protocol import Bars, HistoryRequest, Progress, Quotes, RetransmitRequest, Status
from mts1b_desk.services.archive import Archive
from mts1b_desk.services.requests import Answer, NoAnswer, ask
from mts1b_desk.services.service import Job, Service
from mts1b_desk.settings import DeskSettings, ReplaySettings
from mts1b_desk.state.store import Store
from mts1b_desk.tables import Change

log = get_logger("mts1b.desk.marketdata")

_TURN = 32
"""Ticks published before other tasks get their turn."""
_POLL = 0.002
_LONGEST_POLL = 0.05
"""Seconds between two looks at readers that are far behind: who is asked all the time does nothing else."""
_WAIT = 0.02
_PATIENCE = 0.3
"""Seconds without a finished order after which waiting signals are taken to wait for the market itself."""
_SAVE = 0.2
"""Seconds between two notes of how far the session is."""
_TABLE, _PUBLISHED, _LAST = "session", "published", "last"
_BACKLOG = 5
"""Signals per fund that may wait before a replay at full speed slows down for them."""


class MarketdataService(Service):
    """The one publisher of market data of a desk."""

    name = "marketdata"
    repo = "mts1b-marketdata"

    def __init__(self, bus: EventBus, settings: DeskSettings, store: Store) -> None:
        super().__init__(bus, settings)
        self._store = store
        self._before = 0  # quotes that were published in an earlier life, at the least
        self._last: int | None = None  # the last quote of the session, once that is decided
        self._saved = 0.0
        self._source: Source = self._open()
        self._core = Marketdata(settings, self._source.label)
        self._archive = Archive(settings)
        self._closing = asyncio.Event()
        self._closed = False
        self._time: datetime | None = None

    def _open(self) -> Source:
        """Where the ticks come from.

        Raises:
            DataError: the file cannot be read, or has changed since it was checked.
        """
        if isinstance(self.settings.source, ReplaySettings):
            check_unchanged(self.settings.source)
        return open_source(self.settings)

    @property
    def market_time(self) -> datetime | None:
        """Market time of the last quote that was published."""
        return self._time

    async def prepare(self) -> None:
        """Read how far it was."""
        rows = dict((await self._store.open()).get(_TABLE, ()))
        self._before = int(rows.get(_PUBLISHED, 0))
        if _LAST in rows:
            self._last = int(rows[_LAST])
        self._saved = asyncio.get_running_loop().time()
        if self._before:
            log.info("going on with the session", published=self._before, last=self._last)

    async def close(self) -> None:
        """Close the database."""
        await self._store.close()

    def jobs(self) -> list[Job]:
        """The replay."""
        return [self._replay]

    def status(self) -> Status:
        """How far the replay is."""
        return super().status().model_copy(update={"closed": self._closed, "position": self._core.quotes})

    def progress(self) -> Progress:
        """What was published."""
        return Progress(quotes=self._core.quotes, bars=self._core.bars[self.settings.intervals[0]])

    def answers(self) -> dict[str, Answer]:
        """Retransmission, history, and closing the session early."""
        return {"retransmit": self._retransmit, "history": self._history, "close": self._close}

    async def _replay(self) -> None:
        for service in self.settings.after:
            await self._until_ready(service)
        pace = _Pace(self.settings.speed)
        for number, tick in enumerate(self._source.ticks(), 1):
            if self._over:
                break
            again = self._core.quotes < self._before
            if not again and (delay := pace.delay(tick.timestamp)) > 0 and self._core.quotes:
                await _first_of(self._closing, delay)
                if self._over:
                    break
            await self._publish(tick, silent=again)
            if number % _TURN == 0:
                await asyncio.sleep(0)
            if asyncio.get_running_loop().time() - self._saved > _SAVE:
                await self._save(_PUBLISHED, self._core.quotes)
            if self.settings.speed is None and number % self.settings.window == 0:
                await self._let_readers_follow()
        await self.bus.flush()
        # Decided before it is told: whatever dies in between, the session ends here.
        await self._save(_PUBLISHED, self._core.quotes)
        await self._save(_LAST, self._core.quotes)
        await self._tell_prices()
        await self.bus.emit(MARKETDATA_SESSIONS_CLOSED_V2, self._core.close())
        self._closed = True
        log.info("session closed", quotes=self._core.quotes, bars=self._core.bars)

    async def _tell_prices(self) -> None:
        """Publish the prices of the session for its report; what trades does not wait for them."""
        for prices in self._core.prices():
            msg_id = f"{self.settings.session}:sampled:{token(prices.symbol)}"
            try:
                await self.bus.emit(MARKETDATA_SESSIONS_SAMPLED, prices, msg_id=msg_id)
            except (PublishError, AccessDenied) as error:  # a full stream, or permissions of an earlier release
                log.warning("the report of the session will lack its prices", reason=str(error))
                return

    @property
    def _over(self) -> bool:
        if self._last is not None:
            return self._core.quotes >= self._last
        return self._closing.is_set() and 0 < self._core.quotes >= self._before

    async def _save(self, key: str, value: int) -> None:
        self._saved = asyncio.get_running_loop().time()
        async with self._store.transaction() as tx:
            await self._store.write(tx, [Change(_TABLE, key, b"%d" % value)], ())

    async def _publish(self, tick: Tick | BarTick, *, silent: bool) -> None:
        trace_id = new_trace_id()  # one trace for all that a tick leads to
        for item in self._core.on_tick(tick):
            self._archive.add(item)
            if silent:
                continue
            if isinstance(item, QuoteV2):
                await self.bus.emit(MARKETDATA_QUOTES_V2, item, trace_id=trace_id)
            else:
                await self.bus.emit(MARKETDATA_BARS_V2, item, trace_id=trace_id)
        self._time = tick.timestamp

    async def _until_ready(self, service: str) -> None:
        while True:
            try:
                status = await ask(self.bus, service, "status", Status)
            except NoAnswer:
                await asyncio.sleep(_WAIT)
                continue
            except AccessDenied as error:
                log.warning("the market opens without knowing whether everybody listens", reason=str(error))
                return
            if status.ready and status.session == self.settings.session:
                return
            await asyncio.sleep(_WAIT)

    async def _let_readers_follow(self) -> None:
        """Wait until no reader is more than a window behind, and orders keep up as far as they can."""
        pause = _POLL
        while not self._closing.is_set():
            if await self._feeds_follow() and await self._orders_follow():
                return
            await asyncio.sleep(pause)
            pause = min(_LONGEST_POLL, 2 * pause)

    async def _feeds_follow(self) -> bool:
        quotes = self._core.quotes - self.settings.window
        bars = self._core.bars[self.settings.intervals[0]] - self.settings.window
        for reader in self.settings.readers:
            seen = await self._ask_progress(reader)
            if seen is None or (seen.quotes is not None and seen.quotes < quotes):
                return False
            if seen.bars is not None and seen.bars < bars:
                return False
        return True

    async def _orders_follow(self) -> bool:
        if not {"research", "brokers"} <= set(self.settings.readers):
            return True
        limit = _BACKLOG * len(self.settings.funds)
        last, patience, pause, looked = -1, _PATIENCE, _POLL, 0.0
        loop = asyncio.get_running_loop()
        while not self._closing.is_set() and patience > 0:
            research, oms = await self._ask_progress("research"), await self._ask_progress("oms")
            if research is None or oms is None:
                return False
            backlog = (research.signals or 0) - (oms.signals or 0) + oms.waiting
            if backlog <= limit:
                return True
            patience = _PATIENCE if oms.finished != last else patience - pause
            done, took = oms.finished - last if last >= 0 else 0, loop.time() - looked
            last, looked = oms.finished, loop.time()
            pause = next_look(backlog - limit, done, took, pause)
            await asyncio.sleep(pause)
        return True

    async def _ask_progress(self, service: str) -> Progress | None:
        try:
            return await ask(self.bus, service, "progress", Progress)
        except NoAnswer as error:
            log.warning("the replay waits for a reader", reason=str(error))
            await asyncio.sleep(0.2)
            return None
        except AccessDenied:
            return Progress()  # it cannot be asked here: the replay goes on, and who falls behind fetches again

    async def _retransmit(self, data: bytes) -> BaseModel:
        request = RetransmitRequest.model_validate_json(data)
        self._check(request.session)
        if request.kind == "quotes":
            return Quotes(items=await self._archive.quotes(request.first, request.last))
        if request.interval not in self.settings.intervals:
            raise DeskError(f"this desk makes bars of {', '.join(self.settings.intervals)}, not of {request.interval}")
        return Bars(items=await self._archive.bars(request.interval, request.first, request.last))

    async def _history(self, data: bytes) -> BaseModel:
        request = HistoryRequest.model_validate_json(data)
        self._check(request.session)
        while self._core.quotes < request.known:  # noqa: ASYNC110 - started again, and not back where the asker is
            await asyncio.sleep(_POLL)
        return Quotes(items=await self._archive.history(request.symbol, request.since, request.after))

    async def _close(self, _: bytes) -> BaseModel:
        self._closing.set()
        return self.status()

    def _check(self, session: str) -> None:
        if session != self.settings.session:
            raise DeskError(f"the session here is {self.settings.session}, not {session}")


def next_look(behind: int, done: int, took: float, before: float) -> float:
    """Seconds until it is worth looking whether ``behind`` orders are done, of which ``done`` took ``took`` seconds.

    When none was done, twice as long as ``before``.
    """
    return min(_LONGEST_POLL, max(_POLL, behind * took / done) if done > 0 else 2 * before)


class _Pace:
    """When a tick is due: market time runs ``speed`` times as fast as time, from the first tick on."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._origin: tuple[float, datetime] | None = None

    def delay(self, at: datetime) -> float:
        """Seconds until the tick of market time ``at`` is due; 0 at full speed."""
        if self._speed is None:
            return 0.0
        now = asyncio.get_running_loop().time()
        if self._origin is None:
            self._origin = now, at
        start, first = self._origin
        return start + (at - first).total_seconds() / self._speed - now


async def _first_of(event: asyncio.Event, seconds: float) -> None:
    """Return when ``event`` is set or ``seconds`` have passed."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
