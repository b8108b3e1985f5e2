"""A core on the bus: events in, through the core, effects out.

An event is acknowledged when all its effects are stored. Effects leave in the order in which the core made them. A
service whose effects cannot be published ends instead of going on with books that nobody else can see.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from mts1b_foundation.marketdata import Quote, SessionClosed
from mts1b_foundation.subjects import MARKETDATA_BARS, MARKETDATA_QUOTES
from mts1b_platform.eventbus import BusError, Consumer, Event, EventBus, RetryPolicy
from mts1b_platform.logs import get_logger
from pydantic import BaseModel

from mts1b_desk.books import Book
from mts1b_desk.cores.broker import Broker
from mts1b_desk.cores.core import Effects, Emit, NeedQuotes
from mts1b_desk.cores.oms import Oms
from mts1b_desk.cores.research import Research
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.protocol import Durable, HistoryRequest, Progress, Quotes, Status
from mts1b_desk.services.causes import Causes
from mts1b_desk.services.feed import Feed
from mts1b_desk.services.requests import Answer, NoAnswer, ask
from mts1b_desk.services.service import Job, Service
from mts1b_desk.services.wiring import CORES, INPUTS, Input
from mts1b_desk.settings import DeskSettings

log = get_logger("mts1b.desk.service")

_RETRY = RetryPolicy(max_deliveries=5, base=0.2, cap=5.0)
_FORGOTTEN_AFTER = 600.0
"""Seconds after which the server forgets the durables of a run that ended without cleaning up."""
_POLL = 0.02


class CoreService(Service):
    """One core as a service."""

    def __init__(self, name: str, bus: EventBus, settings: DeskSettings) -> None:
        super().__init__(bus, settings)
        self.core = CORES[name](settings)
        self.name = name
        self.repo = self.core.repo
        self.closed = False
        self._time: datetime | None = None
        self._order = asyncio.Lock()
        self._causes = Causes()
        self._needs: asyncio.Queue[NeedQuotes] = asyncio.Queue()
        self._fetching = False
        self._consumers: list[tuple[Input, Consumer[Any]]] = []
        self._feed: Feed[Any] | None = self._make_feed()

    @property
    def market_time(self) -> datetime | None:
        """Market time of the last quote or bar that was worked."""
        return self._time

    async def prepare(self) -> None:
        """Subscribe to the feed, create the durables, publish what the core has to say first."""
        if self._feed is not None:
            await self._feed.start()
        for wanted in INPUTS[self.name]:
            consumer: Consumer[Any] = self.bus.consume(
                *wanted.subjects,
                durable=f"desk-{self.settings.session}-{self.name}-{wanted.name}",
                policy=_RETRY,
                deliver=wanted.deliver,
                prefetch=64,
                inactive_threshold=_FORGOTTEN_AFTER,
            )
            await consumer.start()
            self._consumers.append((wanted, consumer))
            self.durables.append(Durable(stream=consumer.stream, name=consumer.durable))
        await self._publish(self.core.start())

    async def settle(self) -> None:
        """Wait until every earlier halt is known."""
        for wanted, consumer in self._consumers:
            if wanted.deliver == "all":
                await _until_drained(self.bus, consumer)

    def jobs(self) -> list[Job]:
        """One job per input, and one for the feed."""
        jobs: list[Job] = [self._reader(consumer) for _, consumer in self._consumers]
        if self._feed is not None:
            jobs.append(self._feed.run)
        if isinstance(self.core, Broker):
            jobs.append(self._fetch_history)
        return jobs

    def answers(self) -> dict[str, Answer]:
        """The core's books, where it has some; for the treasury, to value the funds for the last time."""
        core = self.core
        answers: dict[str, Answer] = {}
        book: Callable[[], Book] | None = getattr(core, "book", None)
        if book is not None:

            async def tell(_: bytes) -> BaseModel:
                return book()

            answers["book"] = tell
        if isinstance(core, Treasury):

            async def finalise(_: bytes) -> BaseModel:
                await self._publish(core.finalise())
                return core.book()

            answers["finalise"] = finalise
        return answers

    def status(self) -> Status:
        """How the service is doing."""
        return (
            super()
            .status()
            .model_copy(
                update={
                    "closed": self.closed or not self._reads_sessions,
                    "idle": self.core.idle and not self._fetching and not self._order.locked(),
                    "position": self._feed.taken if self._feed else 0,
                    "gaps": self._feed.gaps if self._feed else 0,
                }
            )
        )

    def progress(self) -> Progress:
        """How far the service is with its feed, its signals and its orders."""
        core = self.core
        if isinstance(core, Research):
            return Progress(bars=self._feed.taken if self._feed else 0, signals=core.signals)
        if isinstance(core, Oms):
            return Progress(signals=core.signals, waiting=core.waiting, finished=core.finished)
        return Progress(quotes=self._feed.taken if self._feed else 0)

    @property
    def _reads_sessions(self) -> bool:
        return any(wanted.name == "sessions" for wanted in INPUTS[self.name])

    def _make_feed(self) -> Feed[Any] | None:
        core = self.core
        if isinstance(core, Research):
            return Feed(
                self.bus,
                MARKETDATA_BARS,
                session=self.settings.session,
                interval=self.settings.intervals[0],
                work=lambda bars: self._work(bars, core.on_bar),
            )
        if isinstance(core, Broker | Treasury):
            return Feed(
                self.bus,
                MARKETDATA_QUOTES,
                session=self.settings.session,
                interval=None,
                work=lambda quotes: self._work(quotes, core.on_quote),
            )
        return None

    async def _work(self, items: Sequence[Any], handle: Callable[[Any], Effects]) -> None:
        for item in items:
            effects = handle(item)
            self._time = item.timestamp if isinstance(item, Quote) else item.end
            if effects:
                await self._publish(effects)

    def _reader(self, consumer: Consumer[Any]) -> Job:
        async def read() -> None:
            async for event in consumer:
                async with event:
                    await self._handle(event)

        return read

    async def _handle(self, event: Event[Any]) -> None:
        payload = event.payload
        self._causes.remember(event)
        if isinstance(payload, SessionClosed):
            if payload.session != self.settings.session:
                return
            if self._feed is not None:
                await self._feed.finish(self._total(payload))
        await self._publish(self.core.handle(event.registered, payload, event.timestamp))
        if isinstance(payload, SessionClosed):
            self.closed = True

    def _total(self, closed: SessionClosed) -> int:
        """Position of the last item of the feed that this service reads."""
        if isinstance(self.core, Research):
            return sum(mark.bars.get(self.settings.intervals[0], 0) for mark in closed.marks)
        return sum(mark.quotes for mark in closed.marks)

    async def _publish(self, effects: Effects) -> None:
        if not effects:
            return
        async with self._order:  # first come, first served: effects leave in the order in which they were made
            for effect in effects:
                if isinstance(effect, Emit):
                    await self._emit(effect)
                else:
                    self._needs.put_nowait(effect)

    async def _emit(self, effect: Emit) -> None:
        try:
            cause = self._causes.of(effect.payload)
            await self.bus.emit(effect.subject, effect.payload, cause=cause, msg_id=effect.msg_id)
        except BusError as error:
            log.critical("an effect cannot be published; the service ends", subject=effect.subject.pattern)
            raise Fatal(f"{self.name} cannot publish {effect.subject.pattern}: {error}") from error

    async def _fetch_history(self) -> None:
        """Get the older quotes that orders need, one need after the other."""
        while True:
            self._fetching = not self._needs.empty()
            need = await self._needs.get()
            self._fetching = True
            request = HistoryRequest(
                session=self.settings.session, symbol=need.symbol, since=need.since, after=need.after
            )
            try:
                answer = await ask(self.bus, "marketdata", "history", Quotes, request, timeout=30)
            except NoAnswer as error:
                log.warning("no older quotes yet", reason=str(error))
                self._needs.put_nowait(need)
                await asyncio.sleep(10 * _POLL)
                continue
            if isinstance(self.core, Broker):
                await self._publish(self.core.on_history(need.order_id, answer.items))


class Fatal(BaseException):
    """The service must end now; no retry and no dead letter may hide it."""


async def drained(bus: EventBus, stream: str, durable: str) -> bool:
    """Whether a durable has nothing to deliver and nothing delivered that is not acknowledged."""
    info = await bus.plain_jetstream().consumer_info(stream, durable)
    return not info.num_pending and not info.num_ack_pending


async def _until_drained(bus: EventBus, consumer: Consumer[Any]) -> None:
    while True:
        if await drained(bus, consumer.stream, consumer.durable):
            return
        await asyncio.sleep(_POLL)
