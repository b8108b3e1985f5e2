"""Reading a best-effort feed without losing anything: gaps are noticed and fetched again from marketdata."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from mts1b_foundation.marketdata import BarV2, QuoteV2
from mts1b_foundation.subjects import Subject
from mts1b_platform.eventbus import EventBus, Listener
from mts1b_platform.logs import get_logger

from mts1b_desk.protocol import Bars, Quotes, RetransmitRequest
from mts1b_desk.sequencer import Sequencer
from mts1b_desk.services.requests import NoAnswer, ask

log = get_logger("mts1b.desk.feed")

F = TypeVar("F", QuoteV2, BarV2)

_TURN = 64
"""Items worked before other tasks get their turn."""
_PAUSE = 0.2


def position(item: QuoteV2 | BarV2) -> int:
    """Where an item stands in its feed over all symbols."""
    return item.feed_sequence or item.sequence


class Feed(Generic[F]):
    """One feed of a session, over all symbols: every item reaches ``work`` once and in order.

    ``work`` gets what is next, as soon as it is here, and is not called again before it has returned.

    Args:
        bus: where it is heard and asked for.
        subject: quotes or bars.
        session: whose.
        interval: of bars; None for quotes.
        taken: position up to which everything was worked before, by an earlier life of the service.
        work: what to do with the next items.
    """

    def __init__(
        self,
        bus: EventBus,
        subject: Subject[F],
        *,
        session: str,
        interval: str | None,
        taken: int = 0,
        work: Callable[[Sequence[F]], Awaitable[None]],
    ) -> None:
        self.gaps = 0
        self._bus = bus
        self._session = session
        self._interval = interval
        self._work = work
        self._sequencer: Sequencer[F] = Sequencer(position, taken=taken)
        self._listener: Listener[F] = bus.listen(subject, interval=interval) if interval else bus.listen(subject)
        self._gap = asyncio.Event()
        self._moved = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def taken(self) -> int:
        """Position of the last item that was worked."""
        return self._sequencer.taken

    @property
    def complete(self) -> bool:
        """Whether the feed has ended and everything of it was worked."""
        return self._sequencer.complete

    async def start(self) -> None:
        """Subscribe: what is published from now on is heard."""
        await self._listener.start()

    async def run(self) -> None:
        """Hear and work until the bus drains."""
        async with asyncio.TaskGroup() as tasks:
            filler = tasks.create_task(self._fill_gaps())
            number = 0
            async for heard in self._listener:
                number += 1
                if number % _TURN == 0:
                    await asyncio.sleep(0)
                if heard.payload.session == self._session:
                    async with heard:  # what is made of it joins its trace
                        await self._take((heard.payload,))
            filler.cancel()

    async def finish(self, total: int) -> None:
        """The feed has ended with position ``total``: returns when everything was worked."""
        self._sequencer.expect(total)
        self._gap.set()
        while not self._sequencer.complete:
            self._moved.clear()
            await self._moved.wait()

    async def _take(self, items: Sequence[F]) -> None:
        async with self._turn:
            for item in items:
                if ready := self._sequencer.offer(item):
                    await self._work(ready)
                    self._moved.set()
            if self._sequencer.missing is not None:
                self._gap.set()

    async def _fill_gaps(self) -> None:
        while True:
            await self._gap.wait()
            self._gap.clear()
            missing = self._sequencer.missing
            if missing is None:
                continue
            self.gaps += 1
            log.warning("gap in the feed; asking again", first=missing[0], last=missing[1], feed=repr(self._listener))
            while (missing := self._sequencer.missing) is not None:
                try:
                    await self._take(await self._fetch(*missing))
                except NoAnswer as error:
                    log.warning("no retransmission yet", reason=str(error))
                    await asyncio.sleep(_PAUSE)

    async def _fetch(self, first: int, last: int) -> Sequence[F]:
        kind = "bars" if self._interval else "quotes"
        request = RetransmitRequest(session=self._session, kind=kind, interval=self._interval, first=first, last=last)
        pages = Bars if self._interval else Quotes
        answer = await ask(self._bus, "marketdata", "retransmit", pages, request, timeout=10)
        items: Sequence[F] = answer.items  # pyright: ignore[reportAssignmentType] - the kind that was asked for
        if not items:
            raise NoAnswer(f"marketdata has not published {kind} {first} to {last} yet")
        return items
