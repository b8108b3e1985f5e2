"""One run of a service: everything is started, works until it is told to end, and is ended in order."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from mts1b_foundation.subjects import DurableSubject

from mts1b_platform.eventbus import Consumer, EventBus, Listener, LiveEvent, SharedConsumer
from mts1b_platform.eventbus.events.once import DedupeStore, Opens
from mts1b_platform.logs import get_logger
from mts1b_platform.service.handlers import Handler, name_of, unharmed
from mts1b_platform.threads import call

log = get_logger("mts1b.service")


class Runner(Protocol):
    """Something that works beside the handlers until it is told to stop, such as an outbox's relay."""

    async def run(self) -> None:
        """Work until :meth:`stop`; an error ends the service."""
        ...

    def stop(self) -> None:
        """Finish what is at hand and return from :meth:`run`."""
        ...


AnyConsumer = Consumer[Any] | SharedConsumer[Any]
Job = Callable[["Running"], Coroutine[Any, Any, None]]
Call = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Parts:
    """What a service is made of, as its decorators collect it."""

    readers: list[Job] = field(default_factory=list[Job])
    tickers: list[Job] = field(default_factory=list[Job])
    runners: list[Callable[[EventBus], Runner]] = field(default_factory=list[Callable[[EventBus], Runner]])
    durables: dict[str, tuple[DurableSubject[Any], ...]] = field(
        default_factory=dict[str, tuple[DurableSubject[Any], ...]]
    )
    on_start: list[Call] = field(default_factory=list[Call])
    on_stop: list[Call] = field(default_factory=list[Call])


class Running:
    """One run of ``parts`` on ``bus``.

    Args:
        parts: what runs.
        bus: the connected bus.
        stopping: set when the run shall end.
        budget: seconds that handlers have to finish then.
    """

    def __init__(self, parts: Parts, bus: EventBus, stopping: asyncio.Event, budget: float) -> None:
        self.bus: Final = bus
        self._parts = parts
        self._stopping = stopping
        self._budget = budget
        self._readers: list[AnyConsumer | Listener[Any]] = []
        self._stores: list[DedupeStore[Any]] = []
        self._at_work: list[Runner] = []
        self._working: list[asyncio.Task[None]] = []
        self._begun = 0
        self._all_begun = asyncio.Event()

    async def work(self, began: Callable[[list[str]], None]) -> bool:
        """Work until told to end; says whether a handler had to be cancelled then.

        Args:
            began: called with the names of the readers when everything reads.
        """
        failure: BaseException | None = None
        self._working = [_task(job(self), job) for job in self._parts.readers]
        tickers = [_task(job(self), job) for job in self._parts.tickers]
        beside = [_task(self._runs(make), self._runs) for make in self._parts.runners]
        try:
            if await self._all_read():
                began([task.get_name() for task in self._working])
            failure = await self._until_told([*self._working, *tickers, *beside])
        finally:
            cut_short = await self._end(tickers, beside)
        if failure is not None:
            raise failure
        return cut_short

    async def ready(self) -> str | None:
        """Why the service is not ready; None when it is."""
        if self._stopping.is_set():
            return "draining"
        ended = [task.get_name() for task in self._working if task.done()]
        if ended:
            return f"ended: {', '.join(ended)}"
        if not self._all_begun.is_set():
            return "starting"
        away = [
            f"{reader.durable}: {reader.store_away}"
            for reader in self._readers
            if not isinstance(reader, Listener) and reader.store_away is not None
        ]
        return f"store away: {'; '.join(away)}" if away else None

    def instances(self) -> dict[str, str]:
        """Of readers with several instances: whether this one is handed events, or of which keys, by durable."""
        told: dict[str, str] = {}
        for reader in list(self._readers):
            if isinstance(reader, SharedConsumer):
                told[reader.durable] = f"keys {', '.join(sorted(reader.keys)) or 'none'}"
            elif isinstance(reader, Consumer) and reader.may_stand_by:
                told[reader.durable] = "active" if reader.active else "standby"
        return told

    # What the jobs do.

    async def opened(self, store: DedupeStore[Any] | None) -> None:
        """Open ``store``, and close it at the end."""
        if store is not None:
            self._stores.append(store)
            if isinstance(store, Opens):
                await store.open()

    async def reads(self, reader: AnyConsumer | Listener[Any]) -> None:
        """Start ``reader``, and stop it at the end."""
        self._readers.append(reader)
        await reader.start()
        self._begun += 1
        if self._begun == len(self._parts.readers):
            self._all_begun.set()

    async def hand(self, handler: Handler, event: LiveEvent[Any]) -> None:
        """Call the handler of a listener; what it raises is counted and logged, and costs its own event only."""
        try:
            async with event:
                await call(handler, event)
        except Exception as error:
            self.bus.counters.consume_errors[event.registered.pattern] += 1
            fields: dict[str, Any] = {"handler": name_of(handler), "parameters": event.parameters, **event.log_fields()}
            log.error("a listening handler failed; its event does not come again", exc_info=error, **fields)

    async def _runs(self, make: Callable[[EventBus], Runner]) -> None:
        runner = make(self.bus)
        self._at_work.append(runner)
        await runner.run()

    # From the first reader to the last answer.

    async def _all_read(self) -> bool:
        """Return when every reader has begun, or one has failed, or the service is told to end; whether all have."""
        if not self._parts.readers:
            self._all_begun.set()
        waiting = [asyncio.create_task(event.wait()) for event in (self._all_begun, self._stopping)]
        try:
            await asyncio.wait([*waiting, *self._working], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(waiting)
        return self._all_begun.is_set()

    async def _until_told(self, tasks: list[asyncio.Task[None]]) -> BaseException | None:
        """Wait for :meth:`stop`, or for a task that ends by itself: the failure, if it was one."""
        told = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([told, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
        for task in done:
            if task is not told and (error := task.exception()) is not None:
                log.error("the service cannot go on", reader=task.get_name(), error=str(error))
                return error
        return None

    async def _end(self, tickers: list[asyncio.Task[None]], beside: list[asyncio.Task[None]]) -> bool:
        """Stop reading and let handlers finish; says whether some had to be cancelled."""
        self._stopping.set()
        await _cancelled(tickers)
        for reader in self._readers:
            await reader.stop()
        late = await self._finished(self._working)
        for store in self._stores:
            await unharmed(store.close(), "closing a dedupe store")
        for hook in reversed(self._parts.on_stop):
            await unharmed(hook(), "on_stop")
        for runner in self._at_work:
            runner.stop()
        return await self._finished(beside) or late

    async def _finished(self, tasks: list[asyncio.Task[None]]) -> bool:
        """Wait for ``tasks`` within the budget and cancel the rest; says whether there was one."""
        if not tasks:
            return False
        _, late = await asyncio.wait(tasks, timeout=self._budget)
        if late:
            names = sorted(task.get_name() for task in late)
            log.warning("cancelled; events at work come again", seconds=self._budget, tasks=names)
            await _cancelled(list(late))
        return bool(late)


def _task(work: Coroutine[Any, Any, None], job: Callable[..., Any]) -> asyncio.Task[None]:
    return asyncio.create_task(work, name=job.__name__)


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
