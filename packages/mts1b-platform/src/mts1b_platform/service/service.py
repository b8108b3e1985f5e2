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

It says in its log when it is ready, which is when everything is read, and when it has drained.

Exit codes: 0 drained; 1 the service could not start or go on (the reason is on standard error); 3 handlers had to be
cancelled; 128 + the signal's number after a second signal.

Health over HTTP (``/healthz``, ``/readyz``, ``/metrics``) is served when ``MTS1B_METRICS_PORT`` is set. Liveness says
that the event loop answers. Readiness further says that every reader reads and has its store, and that the stream's
leader answers a publish of this service, end to end: ``stream_info`` still answers when a cluster has lost its quorum,
so it proves nothing. The publish carries an expectation that no stream can meet, and is answered and never stored.
An instance that stands by is ready; ``/readyz`` says for each durable whether this one is active, or its keys.

It is found by NATS's service protocol (``nats micro ls``) while it is connected, and tells what it has handled.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any, Final, NoReturn, Unpack, cast, overload

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import DurableSubject, Subject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus import BusClosed, ConsumeOptions, Event, EventBus, LiveEvent, Parameters, connect
from mts1b_platform.eventbus.arguments import all_parameters, check_consume, check_listen
from mts1b_platform.eventbus.connect import ConnectOptions, check_connect_options
from mts1b_platform.eventbus.consumers import check_reader
from mts1b_platform.eventbus.events.event import Tx
from mts1b_platform.eventbus.events.once import DedupeStore
from mts1b_platform.eventbus.limits import check_concurrency, check_seconds
from mts1b_platform.logs import configure_logging, get_logger
from mts1b_platform.observability.observe import observe
from mts1b_platform.service.findable import be_found
from mts1b_platform.service.handlers import (
    Handler,
    Hook,
    Outcome,
    Tick,
    Work,
    check_handler,
    every,
    once,
)
from mts1b_platform.service.health import stores_end_to_end
from mts1b_platform.service.requeue import answer_requeues
from mts1b_platform.service.running import AnyConsumer, Parts, Runner, Running
from mts1b_platform.service.signals import Signals
from mts1b_platform.service.start import Start

log = get_logger("mts1b.service")

DRAINED: Final = 0
FAILED: Final = 1
CUT_SHORT: Final = 3


class Service:
    """One process on the bus, made of handlers.

    A declaration that cannot work is refused where it is made: an option or parameter that does not exist, a value out
    of range, a handler that cannot be called with what it will be given. Type checkers see the same: a handler is
    checked against the payload of its subject and the transaction of its store, and keeps its type.

    Args:
        name: the repo it speaks as, such as ``mts1b-treasury``.
        drain_budget: seconds that handlers have to finish when the service ends.
        version: what it says that it is, to whoever looks for services; that of the package ``name`` when left out.
        member: the name of this instance, for readers with several; where they share keys, a restart of one that has it
            afterwards too, such as the host's, moves none.
        connect_options: as for ``connect()``.

    Raises:
        InvalidArgument: an option that ``connect()`` does not have, or a budget that is no number of seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        drain_budget: float = 10.0,
        version: str | None = None,
        member: str | None = None,
        **connect_options: Unpack[ConnectOptions],
    ) -> None:
        check_seconds("drain_budget", drain_budget)
        check_connect_options(name, connect_options)
        self.name = name
        self._version = version
        self._member = member
        self.health_address: str | None = None
        """``host:port`` of the health endpoint while it is open."""
        self._drain_budget = drain_budget
        self._connect_options = connect_options
        self._bus: EventBus | None = None
        self._parts = Parts()
        self._start = Start()

    @property
    def bus(self) -> EventBus:
        """The service's bus, from ``on_start`` to ``on_stop``.

        Raises:
            BusClosed: the service does not run.
        """
        if self._bus is None:
            raise BusClosed(f"{self.name} is not running: its bus exists from on_start to on_stop")
        return self._bus

    @property
    def durables(self) -> Mapping[str, tuple[DurableSubject[Any], ...]]:
        """What it reads under which durable, as declared."""
        return MappingProxyType(self._parts.durables)

    # What it is made of.

    @overload
    def consumes(
        self,
        subject: DurableSubject[T],
        *more: DurableSubject[T],
        durable: str,
        dedupe: None = None,
        concurrency: int = 1,
        **options: Unpack[ConsumeOptions[T]],
    ) -> Callable[[Callable[[Event[T]], Outcome]], Callable[[Event[T]], Outcome]]: ...

    @overload
    def consumes(
        self,
        subject: DurableSubject[T],
        *more: DurableSubject[T],
        durable: str,
        dedupe: Callable[[EventBus], DedupeStore[Tx]],
        concurrency: int = 1,
        **options: Unpack[ConsumeOptions[T]],
    ) -> Callable[[Callable[[Event[T], Tx], Work]], Callable[[Event[T], Tx], Work]]: ...

    @overload
    def consumes(
        self,
        subject: DurableSubject[T],
        *more: DurableSubject[T],
        durable: str,
        dedupe: DedupeStore[Tx],
        concurrency: int = 1,
        **options: Unpack[ConsumeOptions[T]],
    ) -> Callable[[Callable[[Event[T], Tx], Work]], Callable[[Event[T], Tx], Work]]: ...

    def consumes(
        self,
        subject: DurableSubject[Any],
        *more: DurableSubject[Any],
        durable: str,
        dedupe: DedupeStore[Any] | Callable[[EventBus], DedupeStore[Any]] | None = None,
        concurrency: int = 1,
        **options: Any,
    ) -> Callable[[Handler], Handler]:
        """Handle each event of a durable subject; acknowledged when the handler returns, as the policy says if not.

        ::

            @service.consumes(OMS_ORDERS_CREATED, durable="risk", fund_id="alpha", concurrency=4)
            async def check(event: Event[Order]) -> None: ...

            @service.consumes(OMS_FILLS_CREATED, durable="books", dedupe=SqliteDedupe("books.db"))
            async def book(event: Event[Fill], tx: aiosqlite.Connection) -> None: ...

        A plain function as handler runs in a thread.

        Args:
            subject: what to read.
            more: further subjects of the same stream.
            durable: the name under which the server remembers what was read.
            dedupe: a store, or what makes one from the bus (``KvDedupe``); the handler is then a coroutine function,
                called with the event and the store's transaction, once per event however often it arrives. The service
                opens the store before it reads, and fails to start when it cannot; it closes it too.
            concurrency: handlers at work at a time; 1 keeps the stream's order.
            options: as for ``bus.consume`` (:class:`ConsumeOptions`), and which key or fund: ``fund_id="alpha"``, or
                ``where={"venue": "X"}`` of a subject of your own.

        Raises:
            InvalidArgument: a value that cannot work, or a handler that cannot be called with the event (and
                transaction).
            ConsumeError: a durable that has no possible name.
            NotStored: the subject is best effort.
            UnknownParameter: an option or a parameter that does not exist.
        """
        check_consume((subject, *more), durable, **options)
        check_reader(**options)
        check_concurrency(concurrency)

        def register(handler: Handler) -> Handler:
            if dedupe is None:
                check_handler(handler, "event")
            else:
                check_handler(handler, "event", "tx", plain=False)

            if options.get("instances", "one") != "one":
                options.setdefault("member", self._member)

            async def job(run: Running) -> None:
                store = dedupe(run.bus) if callable(dedupe) else dedupe
                await run.opened(store)
                consumer = cast("AnyConsumer", run.bus.consume(subject, *more, durable=durable, **options))
                await run.reads(consumer)
                await consumer.run(
                    handler if store is None else once(handler, store), concurrency=concurrency, effects=store
                )

            job.__name__ = f"{durable} on {subject.pattern}"
            self._parts.readers.append(job)
            self._parts.durables[durable] = (subject, *more)
            return handler

        return register

    def listens(
        self,
        subject: Subject[T],
        *,
        conflate: bool = False,
        limit: int = 65_536,
        group: str | None = None,
        where: Mapping[str, str | None] | None = None,
        **parameters: Unpack[Parameters],
    ) -> Callable[[Callable[[LiveEvent[T]], Outcome]], Callable[[LiveEvent[T]], Outcome]]:
        """Handle events as they pass, best effort, one after the other.

        ::

            @service.listens(MARKETDATA_QUOTES, symbol="BTC/USDT", conflate=True)
            async def mark(event: LiveEvent[Quote]) -> None: ...

        A handler that raises is logged with the event's parameters and trace, counted in ``nats_consume_errors_total``,
        and the next event comes: there is nothing to deliver again.

        Args:
            subject: what to hear.
            conflate: keep only the latest event of each concrete subject while the handler is at work.
            limit: most events that wait for the handler; the oldest gives way, counted.
            group: of the listeners of one group each event goes to one; everybody without one gets every event.
            where: the same as ``parameters``, for what a subject of your own is told apart by: ``{"venue": "X"}``.
            parameters: hear one key or fund only, such as ``symbol="BTC/USDT"``.

        Raises:
            InvalidArgument: a value that cannot work, or a handler that cannot be called with the event.
            UnknownParameter: an option or a parameter that does not exist.
        """
        given = all_parameters(where, parameters)
        check_listen(subject, conflate=conflate, limit=limit, group=group, where=given)

        def register(handler: Callable[[LiveEvent[T]], Outcome]) -> Callable[[LiveEvent[T]], Outcome]:
            check_handler(handler, "event")

            async def job(run: Running) -> None:
                listener = run.bus.listen(subject, None, conflate=conflate, limit=limit, group=group, where=given)
                await run.reads(listener)
                async for event in listener:
                    await run.hand(handler, event)

            job.__name__ = f"listener of {subject.pattern}"
            self._parts.readers.append(job)
            return handler

        return register

    def every(self, seconds: float) -> Callable[[Tick], Tick]:
        """Call a function each so many seconds, never twice at a time; one that raises is logged and called again.

        Raises:
            InvalidArgument: ``seconds`` is no finite number greater than 0, or the function wants arguments.
        """
        check_seconds("seconds", seconds)

        def register(handler: Tick) -> Tick:
            check_handler(handler)

            async def job(_: Running) -> None:
                await every(seconds, handler)

            job.__name__ = f"every {seconds:g} s"
            self._parts.tickers.append(job)
            return handler

        return register

    def runs(self, make: Callable[[EventBus], Runner]) -> None:
        """Have what ``make`` makes work beside the handlers: ``service.runs(lambda bus: Relay(bus, outbox))``.

        It is stopped when the handlers are done, so that a relay still carries what they left in the outbox.
        """
        self._parts.runners.append(make)

    def on_start(self, hook: Hook) -> Hook:
        """Call ``hook`` when the bus is connected and nothing is read yet; an error ends the service."""
        check_handler(hook)
        self._parts.on_start.append(hook)
        return hook

    def on_stop(self, hook: Hook) -> Hook:
        """Call ``hook`` when nothing is read any more and the bus is still up; the last registered goes first."""
        check_handler(hook)
        self._parts.on_stop.append(hook)
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
        self._start.begin(unless=BusClosed(f"{self.name} was stopped before everything was read"))
        try:
            cut_short = await self._serve(signals=signals)
        except Exception as error:
            self._start.failed(error)
            raise
        finally:
            self._start.end()
        log.info("drained", service=self.name, cut_short=cut_short)
        return CUT_SHORT if cut_short else DRAINED

    def stop(self) -> None:
        """Begin to end."""
        self._start.stopping.set()

    def forget(self) -> None:
        """Keep nothing of a run that was cut off in the middle, as a simulation cuts off a process that it kills."""
        self._bus = self.health_address = None
        self._start = Start()

    async def started(self) -> None:
        """Wait until everything reads: durables are pulled, and the server knows of every subscription.

        Raises:
            Mts1bError: what ended the serving, when the service could not start or go on.
            BusClosed: it was stopped before.
        """
        await self._start.wait()

    async def _serve(self, *, signals: bool) -> bool:
        async with AsyncExitStack() as stack:
            if signals:
                stack.enter_context(Signals(self.stop))
            bus = self._bus = await connect(service=self.name, **self._connect_options)
            stack.push_async_callback(self._leave)
            run = Running(self._parts, bus, self._start.stopping, self._drain_budget)
            observed = await stack.enter_async_context(observe(bus))
            observed.check("service", run.ready)
            observed.note("instances", run.instances)
            observed.check("streams", lambda: stores_end_to_end(bus))
            self.health_address = observed.endpoint.address if observed.endpoint else None
            await answer_requeues(bus)
            await be_found(bus, version=self._version, metadata=_member(self._member))
            for hook in self._parts.on_start:
                await hook()
            return await run.work(self._began)

    def _began(self, readers: list[str]) -> None:
        self._start.reads()
        log.info("ready", service=self.name, reads=readers, health=self.health_address)

    async def _leave(self) -> None:
        bus, self._bus, self.health_address = self._bus, None, None
        if bus is not None:
            await bus.drain()


def _member(name: str | None) -> dict[str, str]:
    return {} if name is None else {"member": name}
