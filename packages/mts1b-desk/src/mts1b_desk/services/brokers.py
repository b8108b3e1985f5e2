"""The brokers' service: orders and quotes in, fills out. It obeys a stop on its host also while the bus is dead."""

import asyncio
from functools import partial
from socket import gethostname

from mts1b_foundation.event import utc_now
from mts1b_platform.eventbus import EventBus
from mts1b_platform.logs import get_logger
from mts1b_platform.service.local_stop import LocalStop, Stop

from mts1b_desk.cores.broker import Broker
from mts1b_desk.cores.core import NeedQuotes
from mts1b_desk.protocol import HistoryRequest, Quotes, Status
from mts1b_desk.services.feed_service import QuoteService
from mts1b_desk.services.requests import NoAnswer, ask
from mts1b_desk.services.service import Job
from mts1b_desk.settings import DeskSettings
from mts1b_desk.state.store import Store

log = get_logger("mts1b.desk.brokers")

_PAUSE = 0.2


class BrokersService(QuoteService[Broker]):
    """Also gets older quotes from marketdata when an order needs them, and heeds the stop of its host."""

    def __init__(self, core: Broker, bus: EventBus, settings: DeskSettings, store: Store) -> None:
        super().__init__(core, bus, settings, store)
        self._needs: asyncio.Queue[NeedQuotes] = asyncio.Queue()
        self._fetching = False
        self._stop_here = LocalStop(bus.settings.stop_file)

    async def prepare(self) -> None:
        """Read the state, and obey a stop that is there before the first order is read."""
        await super().prepare()
        await self._obey(self._stop_here.now())

    def need(self, need: NeedQuotes) -> None:
        """An order needs older quotes; they are fetched one need after the other."""
        self._needs.put_nowait(need)

    def jobs(self) -> list[Job]:
        """Those of every reader of quotes, and fetching older ones."""
        return [*super().jobs(), self._fetch_history, self._heed_stops]

    def status(self) -> Status:
        """How the service is doing; it is not idle while it fetches quotes."""
        status = super().status()
        return status.model_copy(update={"idle": status.idle and not self._fetching})

    async def _heed_stops(self) -> None:
        async with self._stop_here.heeding_signals():
            async for stop in self._stop_here.changes():
                await self._obey(stop)

    async def _obey(self, stop: Stop | None) -> None:
        """Store what follows from a stop, or from its end; it is published when the bus is there."""
        actor, at = f"host:{gethostname()}", utc_now()
        if stop is not None and not self.core.stops:
            working = len(self.core.orders)
            await self.keeper.do(partial(self.core.stop, f"{stop.reason} ({stop.by})", actor, at))
            log.critical("stopped on this host: orders withdrawn, none taken", reason=stop.reason, withdrawn=working)
        elif stop is None and self.core.stops:
            await self.keeper.do(partial(self.core.resume, actor, at))
            log.warning("the stop on this host is over: orders are taken again")

    async def _fetch_history(self) -> None:
        while True:
            self._fetching = not self._needs.empty()
            need = await self._needs.get()
            self._fetching = True
            request = HistoryRequest(
                session=self.settings.session,
                symbol=need.symbol,
                since=need.since,
                after=need.after,
                known=self.keeper.taken,
            )
            try:
                answer = await ask(self.bus, "marketdata", "history", Quotes, request, timeout=10)
            except NoAnswer as error:
                log.warning("no older quotes yet", reason=str(error))
                self._needs.put_nowait(need)
                await asyncio.sleep(_PAUSE)
                continue
            await self.keeper.do(partial(self.core.on_history, need.order_id, answer.items))
