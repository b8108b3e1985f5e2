"""A core on the bus: events in, through the core, effects out.

An event is acknowledged when its effects are in the service's database, in the transaction that marks it as handled.
Effects leave from there in the order in which the core made them. A service whose database fails ends, to be started
again, instead of going on with books that nobody will know of.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from mts1b_foundation.marketdata import Quote, SessionClosed
from mts1b_foundation.operations import HaltRequest
from mts1b_foundation.risk import OrderApproval
from mts1b_foundation.subjects import MARKETDATA_BARS, MARKETDATA_QUOTES
from mts1b_platform.eventbus import Consumer, Event, EventBus, RetryPolicy
from mts1b_platform.logs import get_logger
from pydantic import BaseModel

from mts1b_desk.books import Book
from mts1b_desk.cores.broker import Broker
from mts1b_desk.cores.core import Effects, NeedQuotes
from mts1b_desk.cores.oms import Oms
from mts1b_desk.cores.research import Research
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.protocol import Durable, Held, HistoryRequest, HoldRequest, Progress, Quotes, Status
from mts1b_desk.services.feed import Feed, position
from mts1b_desk.services.holds import LONGEST, Holds
from mts1b_desk.services.keeper import Keeper
from mts1b_desk.services.late_accepts import withdraw_late_accepts
from mts1b_desk.services.requests import Answer, NoAnswer, ask
from mts1b_desk.services.service import Job, Service
from mts1b_desk.services.wiring import CORES, INPUTS, Input
from mts1b_desk.settings import DeskSettings
from mts1b_desk.state.store import Store

log = get_logger("mts1b.desk.service")

_RETRY = RetryPolicy(max_deliveries=1_000, base=0.1, cap=1.0)
"""No number of crashes may cost an event: what the core cannot handle is a dead letter at once (``keeper.py``)."""
_ACK_WAIT = 2.0
"""Seconds until the events that a dead service had in hand come again."""
_FORGOTTEN_AFTER = 600.0
"""Seconds after which the server forgets the durables of a run whose state is not kept."""
_SAVE = 1.0
"""Seconds between two looks for market data that was worked and is not stored."""
_POLL = 0.02


class CoreService(Service):
    """One core as a service."""

    def __init__(self, name: str, bus: EventBus, settings: DeskSettings, store: Store) -> None:
        super().__init__(bus, settings)
        self.core = CORES[name](settings)
        self.name = name
        self.repo = self.core.repo
        self._time: datetime | None = None
        self._needs: asyncio.Queue[NeedQuotes] = asyncio.Queue()
        self._fetching = False
        self._settled = asyncio.Event()
        self._consumers: list[tuple[Input, Consumer[Any]]] = []
        self._feed: Feed[Any] | None = None
        self._keeper = Keeper(self.core, store, bus, owner=f"{settings.session}-{name}", need=self._needs.put_nowait)
        self._holds = Holds(self._keeper.at_rest)

    @property
    def market_time(self) -> datetime | None:
        """Market time of the last quote or bar that was worked."""
        return self._time

    async def prepare(self) -> None:
        """Read the state, subscribe to the feed, create the durables."""
        await self._keeper.open()
        self._feed = self._make_feed()
        if self._feed is not None:
            await self._feed.start()
        for wanted in INPUTS[self.name]:
            consumer: Consumer[Any] = self.bus.consume(
                *wanted.subjects,
                durable=f"desk-{self.settings.session}-{self.name}-{wanted.name}",
                policy=_RETRY,
                deliver=wanted.deliver,
                prefetch=64,
                ack_wait=_ACK_WAIT,
                inactive_threshold=None if self.settings.kept else _FORGOTTEN_AFTER,
                ordered_by=_one_order,
            )
            await consumer.start()
            self._consumers.append((wanted, consumer))
            self.durables.append(Durable(stream=consumer.stream, name=consumer.durable))

    async def finish(self) -> None:
        """Store what was worked of the feed."""
        await self._keeper.close()

    async def close(self) -> None:
        """Close the database."""
        await self._keeper.shut()

    async def settle(self) -> None:
        """Wait until every earlier halt is known, and see to it that nothing is accepted in spite of one."""
        for wanted, consumer in self._consumers:
            if wanted.deliver == "all":
                await _until_drained(self.bus, consumer)
        if isinstance(core := self.core, Oms):

            async def retract(order_id: str) -> None:
                await self._keeper.do(partial(core.retract, order_id))

            await withdraw_late_accepts(self.bus, core, self._keeper.waiting, retract)
        self._settled.set()

    def jobs(self) -> list[Job]:
        """One job per input, and one for the feed."""
        jobs: list[Job] = [self._reader(wanted, consumer) for wanted, consumer in self._consumers]
        jobs.append(self._publish)
        if self._feed is not None:
            jobs += [self._feed.run, self._save]
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
        if isinstance(core, Oms):

            async def hold(data: bytes) -> BaseModel:
                request = HoldRequest.model_validate_json(data)
                await self._holds.begin(request.halt_id)
                return Held(halt_id=request.halt_id, seconds=LONGEST)

            answers["hold"] = hold
        if isinstance(core, Treasury):

            async def finalise(_: bytes) -> BaseModel:
                await self._keeper.do(core.finalise)
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
                    "closed": self._keeper.closed or not self._reads_sessions,
                    "idle": self.core.idle and not self._fetching and self._keeper.idle,
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
                taken=self._keeper.taken,
                work=lambda bars: self._work(bars, core.on_bar),
            )
        if isinstance(core, Broker | Treasury):
            return Feed(
                self.bus,
                MARKETDATA_QUOTES,
                session=self.settings.session,
                interval=None,
                taken=self._keeper.taken,
                work=lambda quotes: self._work(quotes, core.on_quote),
            )
        return None

    async def _work(self, items: Sequence[Any], handle: Callable[[Any], Effects]) -> None:
        await self._keeper.take(items, handle, position)
        last = items[-1]
        self._time = last.timestamp if isinstance(last, Quote) else last.end

    async def _publish(self) -> None:
        await self._settled.wait()
        await self._keeper.publish()

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(_SAVE)
            await self._keeper.save()

    def _reader(self, wanted: Input, consumer: Consumer[Any]) -> Job:
        async def read() -> None:
            if wanted.deliver == "new":
                await self._settled.wait()  # no order moves before every halt is known
            async for event in consumer:
                async with event:
                    await self._handle(event)

        return read

    async def _handle(self, event: Event[Any]) -> None:
        payload = event.payload
        if isinstance(payload, OrderApproval) and self.name == "oms":
            await self._holds.accept(partial(self._keeper.handle, event))
            return
        if not isinstance(payload, SessionClosed):
            await self._keeper.handle(event)
            if isinstance(payload, HaltRequest):
                self._holds.end(payload.halt_id)
            return
        if payload.session != self.settings.session:
            return
        if self._feed is not None:
            await self._feed.finish(self._total(payload))
        await self._keeper.handle(event, last=True)

    def _total(self, closed: SessionClosed) -> int:
        """Position of the last item of the feed that this service reads."""
        if isinstance(self.core, Research):
            return sum(mark.bars.get(self.settings.intervals[0], 0) for mark in closed.marks)
        return sum(mark.quotes for mark in closed.marks)

    async def _fetch_history(self) -> None:
        """Get the older quotes that orders need, one need after the other."""
        while True:
            self._fetching = not self._needs.empty()
            need = await self._needs.get()
            self._fetching = True
            request = HistoryRequest(
                session=self.settings.session,
                symbol=need.symbol,
                since=need.since,
                after=need.after,
                known=self._keeper.taken,
            )
            try:
                answer = await ask(self.bus, "marketdata", "history", Quotes, request, timeout=10)
            except NoAnswer as error:
                log.warning("no older quotes yet", reason=str(error))
                self._needs.put_nowait(need)
                await asyncio.sleep(10 * _POLL)
                continue
            if isinstance(self.core, Broker):
                await self._keeper.do(partial(self.core.on_history, need.order_id, answer.items))


def _one_order(_: Any) -> str:
    """Everything that a durable reads is handled in the order of its stream."""
    return ""


async def drained(bus: EventBus, stream: str, durable: str) -> bool:
    """Whether a durable has nothing to deliver and nothing delivered that is not acknowledged."""
    info = await bus.plain_jetstream().consumer_info(stream, durable)
    return not info.num_pending and not info.num_ack_pending


async def _until_drained(bus: EventBus, consumer: Consumer[Any]) -> None:
    while True:
        if await drained(bus, consumer.stream, consumer.durable):
            return
        await asyncio.sleep(_POLL)
