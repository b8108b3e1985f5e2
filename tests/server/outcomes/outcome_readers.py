"""One way to say what a handler does, and three to have it done: ``consume``, ``ordered_by`` and ``Service``."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, DurableSubject
from mts1b_platform.eventbus import BusClosed, Consumer, Event, EventBus, RetryPolicy
from mts1b_platform.service import Service
from outcome_world import DURABLE, World, eventually

Handle = Callable[[Event[Any]], Awaitable[None]]

QUICK = RetryPolicy(max_deliveries=3, base=0.05, factor=1, jitter=0)
SURFACES = ("consume", "ordered_by", "Service")
ORDERED = ("ordered_by", "Service ordered_by")
_TO_START = 20.0


class Reading:
    """What one reader did so far."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.begun: list[str] = []
        """Ids of the orders that were handed to the handler, each time."""
        self.handled: list[str] = []
        """Of those that its handler returned from."""
        self.failure: BaseException | None = None
        """Why it ended by itself."""
        self.bus: EventBus | None = None
        self.consumer: Consumer[Any] | None = None
        self.service: Service | None = None

    async def has_handled(self, count: int, within: float | None = None) -> bool:
        """Whether so many were handled in time."""
        return await eventually(lambda: len(self.handled) >= count, within or self.patience)


@asynccontextmanager
async def reading(
    world: World,
    surface: str,
    handle: Handle | None = None,
    *,
    subject: DurableSubject[Any] = OMS_ORDERS_CREATED,
    durable: str = DURABLE,
    store: Any = None,
    speaks_as: str = "mts1b-oms",
    graceful: bool = False,
    concurrency: int = 1,
    **options: Any,
) -> AsyncGenerator[Reading, None]:
    """A reader at work inside the block.

    Args:
        world: where.
        surface: one of ``SURFACES``, "Service ordered_by", or "raw": nats-py's ``js.subscribe``.
        handle: what is done with each event; nothing when left out.
        subject: what is read.
        durable: under which name.
        store: a dedupe store; each event is then handled once.
        speaks_as: the service that reads.
        graceful: end it as a deploy would; else its connection is cut, as in a crash.
        concurrency: of the service.
        options: further ones of ``bus.consume``.
    """
    options.setdefault("policy", QUICK)
    if surface.endswith("ordered_by"):
        options.setdefault("ordered_by", "fund_id")
    made = Reading(world.patience)

    async def note(event: Event[Any]) -> None:
        name = getattr(event.payload, "order_id", "")
        made.begun.append(name)
        if handle is not None:
            await handle(event)
        made.handled.append(name)

    if surface == "raw":
        work = _raw(world, made, note, subject, durable, speaks_as, graceful)
    elif surface.startswith("Service"):
        work = _serving(world, made, note, subject, durable, store, speaks_as, graceful, concurrency, options)
    else:
        work = _consuming(world, made, note, subject, durable, store, speaks_as, graceful, options)
    async with work:
        yield made


@asynccontextmanager
async def _consuming(
    world: World,
    made: Reading,
    note: Handle,
    subject: DurableSubject[Any],
    durable: str,
    store: Any,
    speaks_as: str,
    graceful: bool,
    options: dict[str, Any],
) -> AsyncGenerator[None, None]:
    made.bus = bus = await world.connect(speaks_as)
    made.consumer = consumer = bus.consume(subject, durable=durable, **options)
    await consumer.start()

    async def read() -> None:
        async for event in consumer:
            async with event:
                if store is None:
                    await note(event)
                else:
                    async with event.once(store):
                        await note(event)

    try:
        async with _running(made, read()):
            try:
                yield
            finally:
                await (bus.drain() if graceful else bus.close())
    finally:
        if store is not None:
            await store.close()


@asynccontextmanager
async def _raw(
    world: World,
    made: Reading,
    note: Handle,
    subject: DurableSubject[Any],
    durable: str,
    speaks_as: str,
    graceful: bool,
) -> AsyncGenerator[None, None]:
    made.bus = bus = await world.connect(speaks_as)
    subscription = await bus.jetstream().subscribe(subject.pattern, durable=durable, manual_ack=True)

    async def read() -> None:
        async for message in subscription.messages:
            payload = subject.payload.model_validate_json(message.data)
            event: Any = SimpleNamespace(payload=payload, key=message.metadata.sequence.stream)
            try:
                await note(event)
            except Exception:  # noqa: BLE001 - as the first users were shown
                await message.nak(delay=0.05)
            else:
                await message.ack()

    async with _running(made, read()) as task:
        try:
            yield
        finally:
            await subscription.unsubscribe()
            if graceful:
                await asyncio.wait({task}, timeout=made.patience)
            await bus.close()


@asynccontextmanager
async def _serving(
    world: World,
    made: Reading,
    note: Handle,
    subject: DurableSubject[Any],
    durable: str,
    store: Any,
    speaks_as: str,
    graceful: bool,
    concurrency: int,
    options: dict[str, Any],
) -> AsyncGenerator[None, None]:
    made.service = service = Service(speaks_as, servers=world.server.url, drain_budget=0.5)

    consumes: Any = service.consumes  # whether there is a store decides what a handler takes

    @consumes(subject, durable=durable, dedupe=store, concurrency=concurrency, **options)
    async def act(event: Event[Any], *_: Any) -> None:
        await note(event)

    async def serve() -> None:
        await service.serve()

    async with _running(made, serve()) as task:
        started = asyncio.create_task(service.started())
        await asyncio.wait({task, started}, timeout=_TO_START, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        with suppress(BusClosed):  # it could not start
            made.bus = service.bus
        try:
            yield
        finally:
            if made.bus is not None and not graceful:
                await made.bus.close()
            service.stop()


@asynccontextmanager
async def _running(made: Reading, work: Any) -> AsyncGenerator[asyncio.Task[None], None]:
    """``work`` beside the block; after it, it has a moment to end by itself."""

    async def note_its_end() -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the test asks for it
            made.failure = error

    task = asyncio.create_task(note_its_end())
    try:
        yield task
    finally:
        await asyncio.wait({task}, timeout=made.patience)
        task.cancel()
        with suppress(asyncio.CancelledError, Mts1bError):
            await task
        gc.collect()  # what asyncio says of tasks whose errors nobody looked at, it says now
