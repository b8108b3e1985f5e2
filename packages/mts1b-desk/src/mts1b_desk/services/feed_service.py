"""A core that works a feed of market data beside its events, every item once and in the order of the feed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from mts1b_foundation.marketdata import QuoteV2, SessionClosedV2
from mts1b_foundation.subjects import MARKETDATA_QUOTES_V2
from mts1b_platform.eventbus import Event, EventBus

from mts1b_desk.cores.core import Core, Effects, QuoteCore
from mts1b_desk.protocol import Progress, Status
from mts1b_desk.services.core_service import CoreService
from mts1b_desk.services.feed import Feed, position
from mts1b_desk.services.service import Job
from mts1b_desk.settings import DeskSettings
from mts1b_desk.state.store import Store

_SAVE = 1.0
"""Seconds between two looks for market data that was worked and is not stored."""

C = TypeVar("C", bound=Core)
Q = TypeVar("Q", bound=QuoteCore)


class FeedService(CoreService[C]):
    """Base of the services that read quotes or bars. It has worked a session when it has worked all of its feed."""

    feed: Feed[Any]
    """Made when the state is read."""

    def __init__(self, core: C, bus: EventBus, settings: DeskSettings, store: Store) -> None:
        super().__init__(core, bus, settings, store)
        self._time: datetime | None = None

    @property
    def market_time(self) -> datetime | None:
        """Market time of the last quote or bar that was worked."""
        return self._time

    def make_feed(self) -> Feed[Any]:
        """The feed, from where the core has worked it."""
        raise NotImplementedError

    def total(self, closed: SessionClosedV2) -> int:
        """Position of the last item of the feed, once the session is closed."""
        raise NotImplementedError

    async def subscribe(self) -> None:
        """Subscribe to the feed."""
        self.feed = self.make_feed()
        await self.feed.start()

    def jobs(self) -> list[Job]:
        """Those of every core, and the feed."""
        return [*super().jobs(), self.feed.run, self._save]

    def status(self) -> Status:
        """How the service is doing."""
        update = {"closed": self.keeper.closed, "position": self.feed.taken, "gaps": self.feed.gaps}
        return super().status().model_copy(update=update)

    def handle_at_once(self, event: Event[Any]) -> Awaitable[None] | None:
        """Handle an event; the end of the session waits for the feed."""
        return self.handle(event, ()) if isinstance(event.payload, SessionClosedV2) else super().handle_at_once(event)

    async def handle(self, event: Event[Any], behind: Sequence[Event[Any]]) -> None:
        """Handle an event; the end of the session only when all of the feed is worked, and of no other session."""
        payload = event.payload
        if not isinstance(payload, SessionClosedV2):
            await super().handle(event, behind)
        elif payload.session == self.settings.session:
            await self.feed.finish(self.total(payload))
            await self.keeper.handle(event, last=True)

    async def work(self, items: Sequence[Any], step: Callable[[Any], Effects], until: datetime) -> None:
        """Give the next items of the feed to the core; ``until`` is the market time of the last one."""
        await self.keeper.take(items, step, position)
        self._time = until

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(_SAVE)
            await self.keeper.save()


class QuoteService(FeedService[Q]):
    """Base of the services that read quotes."""

    def make_feed(self) -> Feed[QuoteV2]:
        """All quotes of the session."""

        async def work(quotes: Sequence[QuoteV2]) -> None:
            await self.work(quotes, self.core.on_quote, quotes[-1].timestamp)

        session, taken = self.settings.session, self.keeper.taken
        return Feed(self.bus, MARKETDATA_QUOTES_V2, session=session, interval=None, taken=taken, work=work)

    def total(self, closed: SessionClosedV2) -> int:
        """Number of the quotes of the session."""
        return sum(mark.quotes for mark in closed.marks)

    def progress(self) -> Progress:
        """How far it has read the quotes."""
        return Progress(quotes=self.feed.taken)
