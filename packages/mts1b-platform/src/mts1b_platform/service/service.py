"""Running a service: decorated handlers, signals, health, and an end in which nothing is dropped.

::

    service = Service("mts1b-treasury")

    @service.consumes(OMS_FILLS_CREATED, durable="treasury", dedupe=SqliteDedupe("books.db"))
    async def book(event: Event[Fill], tx: aiosqlite.Connection) -> None: ...

    @service.listens(MARKETDATA_QUOTES, conflate=True)
    async def mark(event: LiveEvent[Quote]) -> None: ...

    @service.every(5.0)
    async def publish_nav() -> None:
        await service.bus.emit(TREASURY_NAV, …)

    if __name__ == "__main__":
        service.run()

Ending (SIGTERM, SIGINT or :meth:`Service.stop`): not ready any more; tickers and readers stop; handlers at work
finish within the drain budget and their events are acknowledged; ``on_stop`` hooks run while the bus is still up; the
bus is drained. What did not finish in time is cancelled and its event comes again. A second signal ends at once.

Exit codes: 0 drained; 1 the service could not start or go on (the reason is on standard error); 3 handlers had to be
cancelled; 128 + the signal's number after a second signal.

Health over HTTP (``/healthz``, ``/readyz``, ``/metrics``) is served when ``MTS1B_METRICS_PORT`` is set. Liveness says
that the event loop answers. Readiness further says that every reader reads and has its store, and that the stream's
leader answers a publish of this service, end to end: ``stream_info`` still answers when a cluster has lost its quorum,
so it proves nothing. The publish carries an expectation that no stream can meet, and is answered and never stored.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, NoReturn, Protocol

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import DurableSubject, Subject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus import Consumer, EventBus, Listener, connect
from mts1b_platform.eventbus.errors import BusClosed
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.events.once import DedupeStore, Opens
from mts1b_platform.logs import configure_logging, get_logger
from mts1b_platform.observability.observe import observe
from mts1b_platform.service.health import stores_end_to_end
from mts1b_platform.service.requeue import answer_requeues
from mts1b_platform.threads import call, is_plain

log = get_logger("mts1b.service")

Hook = Callable[[], Awaitable[object]]
Handler = Callable[..., Awaitable[None]]


class Runner(Protocol):
    """Something that works beside the handlers until it is told to stop, such as an outbox's relay."""

    async def run(self) -> None:
        """Work until :meth:`stop`; an error ends the service."""
        ...

    def stop(self) -> None:
        """Finish what is at hand and return from :meth:`run`."""
        ...


Store = DedupeStore[Any] | Callable[[EventBus], DedupeStore[Any]]
Job = Callable[[], Coroutine[Any, Any, None]]

DRAINED, FAILED, CUT_SHORT = 0, 1, 3


class Service:
    """One process on the bus, made of handlers.

    Args:
        name: the repo it speaks as, such as ``mts1b-treasury``.
        drain_budget: seconds that handlers have to finish when the service ends.
        connect_options: as for ``connect()``.
    """

    def __init__(self, name: str, *, drain_budget: float = 10.0, **connect_options: Any) -> None:
        self.name = name
        self.health_address: str | None = None
        """``host:port`` of the health endpoint while it is open."""
        self._drain_budget = drain_budget
        self._connect_options = connect_options
        self._bus: EventBus | None = None
        self._jobs: list[Job] = []
        self._tickers: list[Job] = []
        self._beside: list[Job] = []
        self._runners: list[Runner] = []
        self._stores: list[DedupeStore[Any]] = []
        self._on_start: list[Hook] = []
        self._on_stop: list[Hook] = []
        self._readers: list[Consumer[Any] | Listener[Any]] = []
        self._working: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()

    @property
    def bus(self) -> EventBus:
        """The service's bus, from ``on_start`` to ``on_stop``.

        Raises:
            BusClosed: the service does not run.
        """
        if self._bus is None:
            raise BusClosed(f"{self.name} is not running: its bus exists from on_start to on_stop")
        return self._bus

    # What it is made of.

    def consumes(
        self,
        subject: DurableSubject[T],
        *more: DurableSubject[T],
        durable: str,
        dedupe: Store | None = None,
        concurrency: int = 1,
        **options: Any,
    ) -> Callable[[Handler], Handler]:
        """Handle each event of a durable subject; acknowledged when the handler returns, as the policy says if not.

        Args:
            subject: what to read.
            more: further subjects of the same stream.
            durable: the name under which the server remembers what was read.
            dedupe: a store, or what makes one from the bus (``KvDedupe``); the handler is then called with the event
                and the store's transaction, once per event however often it arrives. The service opens it before it
                reads, and fails to start when it cannot; it closes it too.
            concurrency: handlers at work at a time; 1 keeps the stream's order.
            options: further ones of ``bus.consume``.
        """

        def register(handler: Handler) -> Handler:
            if dedupe is not None and is_plain(handler):
                raise TypeError(
                    f"{getattr(handler, '__name__', handler)} is a plain function: it runs in a thread, where the "
                    "transaction of a dedupe store cannot be used. Write it as `async def`"
                )

            async def job() -> None:
                store = dedupe(self.bus) if callable(dedupe) else dedupe
                if store is not None:
                    self._stores.append(store)
                    if isinstance(store, Opens):
                        await store.open()
                consumer = self.bus.consume(subject, *more, durable=durable, **options)
                self._readers.append(consumer)
                await consumer.start()
                await consumer.run(
                    handler if store is None else _once(handler, store), concurrency=concurrency, effects=store
                )

            job.__name__ = f"{durable} on {subject.pattern}"
            self._jobs.append(job)
            return handler

        return register

    def listens(self, subject: Subject[T], **options: Any) -> Callable[[Handler], Handler]:
        """Handle events as they pass, best effort; a handler that raises is logged and the next event comes.

        Args:
            subject: what to hear.
            options: those of ``bus.listen``.
        """

        def register(handler: Handler) -> Handler:
            async def job() -> None:
                listener = self.bus.listen(subject, **options)
                self._readers.append(listener)
                async for event in listener:
                    await _unharmed(call(handler, event), f"listener of {subject.pattern}")

            job.__name__ = f"listener of {subject.pattern}"
            self._jobs.append(job)
            return handler

        return register

    def every(self, seconds: float) -> Callable[[Hook], Hook]:
        """Call a function each so many seconds, never twice at a time; one that raises is logged and called again."""

        def register(handler: Hook) -> Hook:
            async def job() -> None:
                clock = asyncio.get_running_loop()
                due = clock.time() + seconds
                while True:
                    await asyncio.sleep(due - clock.time())
                    await _unharmed(call(handler), f"{handler.__name__}, every {seconds:g} s")  # type: ignore[attr-defined]
                    due = max(due + seconds, clock.time())

            job.__name__ = f"every {seconds:g} s"
            self._tickers.append(job)
            return handler

        return register

    def runs(self, make: Callable[[EventBus], Runner]) -> None:
        """Have what ``make`` makes work beside the handlers: ``service.runs(lambda bus: Relay(bus, outbox))``.

        It is stopped when the handlers are done, so that a relay still carries what they left in the outbox.
        """

        async def job() -> None:
            runner = make(self.bus)
            self._runners.append(runner)
            await runner.run()

        job.__name__ = "runner"
        self._beside.append(job)

    def on_start(self, hook: Hook) -> Hook:
        """Call ``hook`` when the bus is connected and nothing is read yet; an error ends the service."""
        self._on_start.append(hook)
        return hook

    def on_stop(self, hook: Hook) -> Hook:
        """Call ``hook`` when nothing is read any more and the bus is still up; the last registered goes first."""
        self._on_stop.append(hook)
        return hook

    # Running.

    def run(self) -> NoReturn:
        """Serve until a signal says otherwise, and end the process with the exit code."""
        configure_logging()
        try:
            code = asyncio.run(self.serve(signals=True))
        except Mts1bError as error:
            sys.stderr.write(f"{self.name}: {error}\n")
            code = FAILED
        sys.exit(code)

    async def serve(self, *, signals: bool = False) -> int:
        """Serve until :meth:`stop`; the exit code. With ``signals`` also until SIGTERM or SIGINT.

        Raises:
            Mts1bError: the service could not start or go on; everything was drained before.
        """
        self._stopping.clear()
        cut_short = False
        async with AsyncExitStack() as stack:
            if signals:
                stack.enter_context(_Signals(self.stop))
            self._bus = await connect(service=self.name, **self._connect_options)
            stack.push_async_callback(self._leave)
            observed = await stack.enter_async_context(observe(self._bus))
            observed.check("service", self._ready)
            observed.check("streams", lambda: stores_end_to_end(self.bus))
            self.health_address = observed.endpoint.address if observed.endpoint else None
            await answer_requeues(self._bus)
            for hook in self._on_start:
                await hook()
            failure: BaseException | None = None
            self._working = [_task(job) for job in self._jobs]
            tickers = [_task(job) for job in self._tickers]
            beside = [_task(job) for job in self._beside]
            try:
                await self._all_read()
                self._started.set()
                failure = await self._until_told([*self._working, *tickers, *beside])
            finally:
                cut_short = await self._end(tickers, beside)
            if failure is not None:
                raise failure
        return CUT_SHORT if cut_short else DRAINED

    def stop(self) -> None:
        """Begin to end."""
        self._stopping.set()

    async def started(self) -> None:
        """Wait until everything reads."""
        await self._started.wait()

    async def _all_read(self) -> None:
        """Return when every reader has begun, or one has failed, or the service is told to end."""
        clock = asyncio.get_running_loop()
        began = clock.time()
        while not self._stopping.is_set() and not any(task.done() for task in self._working):
            consumers = [reader for reader in self._readers if isinstance(reader, Consumer)]
            if len(self._readers) == len(self._jobs) and all(consumer.has_started for consumer in consumers):
                return
            await asyncio.sleep(min(0.05, 0.001 + (clock.time() - began) / 10))

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
        self._started.clear()
        await _cancelled(tickers)
        for reader in self._readers:
            await reader.stop()
        self._readers.clear()
        late = await self._finished(self._working)
        for store in self._stores:
            await _unharmed(store.close(), "closing a dedupe store")
        self._stores.clear()
        for hook in reversed(self._on_stop):
            await _unharmed(hook(), "on_stop")
        for runner in self._runners:
            runner.stop()
        self._runners.clear()
        return await self._finished(beside) or late

    async def _finished(self, tasks: list[asyncio.Task[None]]) -> bool:
        """Wait for ``tasks`` within the budget and cancel the rest; says whether there was one."""
        if not tasks:
            return False
        _, late = await asyncio.wait(tasks, timeout=self._drain_budget)
        if late:
            names = sorted(task.get_name() for task in late)
            log.warning("cancelled; events at work come again", seconds=self._drain_budget, tasks=names)
            await _cancelled(list(late))
        return bool(late)

    async def _leave(self) -> None:
        bus, self._bus, self.health_address = self._bus, None, None
        if bus is not None:
            await bus.drain()

    async def _ready(self) -> str | None:
        if self._stopping.is_set():
            return "draining"
        if not self._started.is_set():
            return "starting"
        ended = [task.get_name() for task in self._working if task.done()]
        if ended:
            return f"ended: {', '.join(ended)}"
        away = [
            f"{reader.durable}: {reader.store_away}"
            for reader in self._readers
            if isinstance(reader, Consumer) and reader.store_away is not None
        ]
        return f"store away: {'; '.join(away)}" if away else None


def _once(handler: Handler, store: DedupeStore[Any]) -> Handler:
    """``handler`` with the transaction of ``store``, once per event."""

    async def handle(event: Event[Any]) -> None:
        async with event.once(store) as tx:
            await handler(event, tx)

    return handle


async def _unharmed(work: Awaitable[object], what: str) -> None:
    try:
        await work
    except Exception:
        log.exception("handler failed", handler=what)


def _task(job: Job) -> asyncio.Task[None]:
    return asyncio.create_task(job(), name=job.__name__)


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Signals:
    """The first SIGTERM or SIGINT asks to end, the second ends the process at once."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._seen = False

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._receive, number)

    def __exit__(self, *exc_info: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)

    def _receive(self, number: int) -> None:
        if self._seen:
            log.warning("second signal: ending at once; events at work come again", signal=number)
            os._exit(128 + number)
        self._seen = True
        log.info("ending: reading nothing new, finishing what is in hand", signal=number)
        self._stop()
