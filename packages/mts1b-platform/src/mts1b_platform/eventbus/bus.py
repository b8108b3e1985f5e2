"""The event bus: a nats-py client that knows the subjects, and keeps the promises of their tiers.

It *is* a ``nats.aio.client.Client``: ``publish``, ``subscribe``, ``request``, ``jetstream()`` and the rest work as
nats-py documents them. The typed calls ``emit``, ``emit_many``, ``consume`` and ``listen`` are what new code uses.
"""

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Self, overload

import nats.errors
from mts1b_foundation.subjects import DurableSubject, Subject
from mts1b_foundation.subjects.subject import T
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from mts1b_platform.config import Settings
from mts1b_platform.eventbus.asking import ASKS, ask
from mts1b_platform.eventbus.consumer import Consumer
from mts1b_platform.eventbus.counters import UNSENT, Counters
from mts1b_platform.eventbus.decode import Decoder
from mts1b_platform.eventbus.denials import Action, Denials
from mts1b_platform.eventbus.durables import Deliver
from mts1b_platform.eventbus.errors import AccessDenied, BusClosed, BusError
from mts1b_platform.eventbus.event import Heard
from mts1b_platform.eventbus.hooks import Hooks, of_each
from mts1b_platform.eventbus.identity import Identity
from mts1b_platform.eventbus.ingest import Ingested, Load, prepare_all
from mts1b_platform.eventbus.jetstream import JetStream, complete
from mts1b_platform.eventbus.key_order import Key
from mts1b_platform.eventbus.lane import Lane
from mts1b_platform.eventbus.listener import Listener
from mts1b_platform.eventbus.ordered import OrderedConsumer
from mts1b_platform.eventbus.pipeline import AckPipeline
from mts1b_platform.eventbus.plain import open_lane
from mts1b_platform.eventbus.publish import Ack, prepare, send, send_watched
from mts1b_platform.eventbus.publish_many import Many, drafts, send_atomic, send_many_watched, send_pipelined
from mts1b_platform.eventbus.publisher import Publisher
from mts1b_platform.eventbus.retry import RetryPolicy
from mts1b_platform.eventbus.trace import new_trace_id
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus")

ANONYMOUS = "mts1b-anonymous"
"""Whom a process speaks as that has not said so: it may consume, and dead-letters under this name."""

DEFAULT_DEADLINE = 30.0
DEFAULT_RETRY = RetryPolicy()
_DRAIN_BUDGET = 10.0
_BEST_EFFORT_WAIT = 0.1
_ACK_TIMEOUT = 2.0
"""Seconds until a durable publish is sent again; the stream recognises the repeat."""


class EventBus(Client):
    """A connection to the bus. Made by :func:`mts1b_platform.eventbus.connect`.

    ``async with`` drains it at the end: no new events, those in hand are finished, acks are flushed.
    """

    lane: Lane
    """The hot path; the seam, or nats-py's public calls where the seam does not fit. Set by :meth:`open_lane`."""
    pipeline: AckPipeline
    """Durable publishes under way. Set by :meth:`open_lane`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.identity = Identity(settings)
        self.denials = Denials(lambda: self.identity.name, lambda: self.identity.remedy)
        """What the server refused this process."""
        self.ending: BusError | None = None
        """Why the bus was closed by the other side, when it was."""
        self.counters = Counters()
        self.hooks: Hooks | None = None
        """What watches this bus; set before it is used (see ``mts1b_platform.observability``)."""
        self._publishers: dict[str, Publisher[Any]] = {}
        self._decoders: dict[tuple[str, ...], Decoder] = {}
        self._readers: set[Consumer[Any] | Listener[Any]] = set()
        self._up = asyncio.Event()

    @property
    def service(self) -> str:
        """The repo this process speaks as."""
        return self.settings.service or ANONYMOUS

    @property
    def actor(self) -> str:
        """Who acts when a payload does not say."""
        return self.settings.actor or self.service

    @property
    def has_jetstream(self) -> bool:
        """Whether the connected server says that it has JetStream."""
        return bool(self._server_info.get("jetstream"))

    @property
    def readers(self) -> list[Consumer[Any] | Listener[Any]]:
        """The consumers and listeners at work; safe to ask for from another thread."""
        return list(self._readers)

    # Publishing.

    @overload
    async def emit(
        self,
        subject: DurableSubject[T],
        event: T,
        *,
        cause: Heard[Any] | None = None,
        msg_id: str | None = None,
        trace_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float = DEFAULT_DEADLINE,
    ) -> Ack: ...

    @overload
    async def emit(
        self,
        subject: Subject[T],
        event: T,
        *,
        cause: Heard[Any] | None = None,
        msg_id: str | None = None,
        trace_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float = DEFAULT_DEADLINE,
    ) -> None: ...

    async def emit(
        self,
        subject: Subject[T],
        event: T,
        *,
        cause: Heard[Any] | None = None,
        msg_id: str | None = None,
        trace_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float = DEFAULT_DEADLINE,
    ) -> Ack | None:
        """Publish ``event`` with the guarantee of its subject's tier.

        A durable event is stored when this returns. A best-effort event is on its way, or dropped and counted while
        there is no connection.

        Args:
            subject: where; parameters and fund are filled in from the event.
            event: the payload, of the subject's type.
            cause: the event that led to this one; the new one joins its trace. Inside ``async with event`` the trace
                is inherited without it.
            msg_id: replaces the message id that the subject's dedupe key gives.
            trace_id: replaces the trace id.
            headers: further headers.
            deadline: seconds until a durable publish gives up.

        Raises:
            NotTheProducer: this process does not speak as the subject's producer.
            SubjectError: the payload is not of the subject's type.
            PublishUncertain: no ack before the deadline; the event may have been stored or not.
            NoStream: no stream stores the subject.
            JetStreamUnavailable: the server has no JetStream.
            BusClosed: the bus was closed.
        """
        trace = trace_id or (cause.trace_id if cause else None)
        if not isinstance(subject, DurableSubject) and headers is None and msg_id is None and not self._watched:
            if self.publisher(subject).send_now(event, trace) and self.lane.crowded:
                await self._make_room()
            return None
        out = prepare(self, subject, event, msg_id=msg_id, trace_id=trace, headers=headers)
        if self.hooks is None:
            return await send(self, subject, out, deadline=deadline)
        return await send_watched(self, self.hooks, subject, event, out, cause=cause, deadline=deadline)

    async def emit_many(
        self,
        subject: DurableSubject[T],
        events: Iterable[T],
        *,
        atomic: bool = False,
        cause: Heard[Any] | None = None,
        window: int = 1024,
        deadline: float = DEFAULT_DEADLINE,
    ) -> list[Ack]:
        """Publish ``events`` in order; one ack each, in their order.

        Args:
            subject: where.
            events: the payloads, of the subject's type.
            atomic: store all or none, with one fsync. The server takes 1000 at a time; more are split into batches of
                1000, each of them all or none. An event that is stored already makes the server refuse its batch.
            cause: the event that led to these; they join its trace.
            window: most events under way at a time when not atomic; fewer while the server takes long to store them.
            deadline: seconds until the publish of one event, or of one atomic batch, gives up.

        Raises:
            PublishError: as :meth:`emit`, of the first event or batch that failed; those before it are stored.
        """
        publisher, trace = self.publisher(subject), cause.trace_id if cause else None
        events = list(events)
        templates = [publisher.template(event) for event in events]  # first of all, as it refuses what cannot go
        send, hooks = send_atomic if atomic else send_pipelined, self.hooks
        many = Many(self, subject, deadline, window, [], None if hooks is None else [])
        with ExitStack() as watches:
            for name in {template.subject for template in templates}:
                watches.enter_context(self.denials.watch(name))
            try:
                if (watchers := of_each(hooks)) is None:
                    await send(many, drafts(subject, publisher, templates, events, trace))
                else:
                    outs = (prepare(self, subject, event, trace_id=trace) for event in events)
                    await send_many_watched(watchers, many, outs, send)
            finally:
                if hooks is not None and many.took:
                    hooks.stored_many(subject, many.took)
        return many.acks

    async def ingest(
        self,
        subject: DurableSubject[T],
        events: Iterable[T] | AsyncIterable[T],
        *,
        deadline: float = DEFAULT_DEADLINE,
    ) -> Ingested:
        """Load any number of events, such as a history, in order and as fast as the server stores them.

        All are stored when this returns. There is no ack for each: who needs the sequences uses :meth:`emit_many`.

        Args:
            subject: where.
            events: the payloads, of the subject's type; read as they are sent, a few thousand ahead at most.
            deadline: seconds without any progress until it gives up.

        Raises:
            PublishError: an event was refused, or the stream takes no fast ingest; says how many are stored.
            PublishUncertain: no progress before the deadline; says how many are stored for certain.
            BusClosed: the bus was closed.
        """
        trace, failure = new_trace_id(), None
        load = Load(self, subject, prepare_all(self, subject, events, trace))
        try:
            return await load.run(deadline)
        except BaseException as error:
            failure = error
            raise
        finally:
            if self.hooks is not None:
                self.hooks.loaded(subject, trace, load.stored, failure)

    def publisher(self, subject: Subject[T]) -> Publisher[T]:
        """The publisher bound to ``subject`` on this bus; the same one each time.

        Raises:
            NotTheProducer: this process does not speak as the subject's producer.
        """
        found = self._publishers.get(subject.pattern)
        if found is None:
            found = self._publishers[subject.pattern] = Publisher(self, subject)
        return found

    # Consuming.

    def decoder(self, subjects: Sequence[Subject[Any]]) -> Decoder:
        """What decodes the messages of ``subjects``; one for all their readers, so that what one has seen all know.

        Raises:
            SchemaMismatch: a subject replaces another, and no upcaster leads from the old payload to the new one.
        """
        patterns = tuple(subject.pattern for subject in subjects)
        found = self._decoders.get(patterns)
        if found is None:
            found = self._decoders[patterns] = Decoder(subjects)
        return found

    def consume(
        self,
        subject: DurableSubject[T],
        *more: DurableSubject[T],
        durable: str,
        policy: RetryPolicy = DEFAULT_RETRY,
        deliver: Deliver = "all",
        prefetch: int = 512,
        ack_wait: float = 30.0,
        inactive_threshold: float | None = None,
        ordered_by: Key | None = None,
        **parameters: str | None,
    ) -> Consumer[T]:
        """Read a durable subject: ``async for event in bus.consume(…): async with event: …``.

        Args:
            subject: what to read; of a verb subject both forms, with and without fund.
            more: further subjects of the same stream, read in the stream's order.
            durable: the name under which the server remembers what was read; instances that share it share the work.
            policy: when a failed event comes again, and when it becomes a dead letter.
            deliver: where a durable that does not exist yet begins.
            prefetch: most events that are asked for, wait here or are being handled.
            ack_wait: seconds after which an event of a crashed process is given to another.
            inactive_threshold: seconds without a reader after which the server forgets the durable; None: never.
            ordered_by: a field of the payload, or a function of it: events that agree in it are handled one after the
                other, in the stream's order, a failed one before those behind it.
            parameters: read one key or fund only, such as ``fund_id="alpha"``.

        Raises:
            UnknownParameter: the subject has no such parameter.
            NotStored: the subject is best effort.
        """
        self._refuse_when_closed()
        make = Consumer[T] if ordered_by is None else partial(OrderedConsumer[T], ordered_by=ordered_by)
        consumer = make(
            self,
            (subject, *more),
            durable,
            parameters=parameters,
            policy=policy,
            deliver=deliver,
            prefetch=prefetch,
            ack_wait=ack_wait,
            inactive_threshold=inactive_threshold,
        )
        self._readers.add(consumer)
        return consumer

    def listen(
        self, subject: Subject[T], *, conflate: bool = False, limit: int = 65_536, **parameters: str | None
    ) -> Listener[T]:
        """Hear events as they pass: ``async for event in bus.listen(MARKETDATA_QUOTES, symbol="BTC/USD"): …``.

        Best effort whatever the subject's tier: nothing is stored for this reader, nothing acknowledged.

        Args:
            subject: what to hear; of a verb subject both forms.
            conflate: keep only the latest event of each concrete subject when the reader is behind.
            limit: most events that wait; the oldest gives way, counted.
            parameters: hear one key or fund only; without one every one.

        Raises:
            UnknownParameter: the subject has no such parameter, or a wildcard was given for one.
        """
        self._refuse_when_closed()
        listener = Listener(self, subject, parameters=parameters, conflate=conflate, limit=limit)
        self._readers.add(listener)
        return listener

    # nats-py's surface, with the envelope kept canonical.

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """As nats-py's; reserved headers go out in the case that the server and consumers look for.

        Raises:
            AccessDenied: the server refused this subject within the last second. It does so after the call for the
                first time; :meth:`flush` waits for its word.
        """
        if self.denials.recent:
            self.denials.check("publish", subject)
        await super().publish(subject, payload, reply, complete(subject, headers) if headers else None)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,  # noqa: FBT001, FBT002 - the signature is nats-py's
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py's.

        Raises:
            AccessDenied: this identity may not publish on ``subject``; said at once, not when the time is over.
        """
        with self.denials.watch(subject):
            if subject.startswith(ASKS) and self._server_info.get("auth_required"):
                return await ask(self, subject, payload, timeout, headers)
            return await super().request(subject, payload, timeout, old_style, headers)

    async def subscribe(self, subject: str, *arguments: Any, **options: Any) -> Subscription:
        """As nats-py's; on a server with identities it waits for the server's word.

        Raises:
            AccessDenied: this identity may not subscribe to ``subject``.
        """
        made: Subscription = await super().subscribe(subject, *arguments, **options)  # pyright: ignore[reportUnknownMemberType]
        if self.is_connected and self._server_info.get("auth_required"):
            try:
                await self.confirm("subscribe", subject)
            except AccessDenied:
                await made.unsubscribe()
                raise
        return made

    async def flush(self, timeout: int = 10) -> None:
        """As nats-py's: the server has taken note of everything sent before.

        Raises:
            AccessDenied: it refused some of it, and nobody was told yet.
        """
        await super().flush(timeout)
        self.denials.tell()

    def server_said(self, words: str) -> None:
        """The server's error line as it was spelled; nats-py hands it on in lower case."""
        self.denials.spelling = words

    async def confirm(self, action: Action, subject: str) -> None:
        """Wait until the server has taken note of everything sent so far.

        Raises:
            AccessDenied: it refused this.
        """
        await super().flush()
        self.denials.check(action, subject)

    def jetstream(self, **options: Any) -> JetStream:
        """As nats-py's; see :class:`JetStream` for what is different underneath."""
        return JetStream(self, **options)

    def plain_jetstream(self) -> JetStreamContext:
        """nats-py's own context, as it is."""
        return JetStreamContext(self)

    # Connection.

    async def open_lane(self) -> None:
        """Take the fast lane through the connection, or say why not; called once by :func:`connect`."""
        self.lane = await open_lane(self)
        self.lane.on_break(self._count_lane_drops)
        self.pipeline = await AckPipeline.open(self.lane, timeout=_ACK_TIMEOUT)
        if not self.lane.fast:
            self.counters.plain_path = 1
            log.warning("the fast path does not fit this nats-py; events take the slow one", reason=self.lane.reason)

    async def wait_connected(self, timeout: float) -> bool:
        """Wait until the connection stands, at most ``timeout`` seconds; says whether it does.

        Raises:
            BusClosed: the bus was closed.
        """
        if self.is_connected:
            return True
        self._refuse_when_closed()
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
        except TimeoutError:
            return False
        self._refuse_when_closed()
        return self.is_connected

    async def drain(self) -> None:
        """End gracefully: stop reading, let handlers finish, flush acks, close. Bounded in time, safe to repeat."""
        if self.is_closed:
            return
        for reader in list(self._readers):
            await reader.stop()
        if not await self._settled(_DRAIN_BUDGET):
            log.warning("handlers did not finish in time; their events come again", seconds=_DRAIN_BUDGET)
        if self.is_connected:
            try:
                await super().flush(timeout=2)
                await super().drain()
            except (nats.errors.Error, AccessDenied) as error:
                log.warning("drain was cut short", error=str(error) or type(error).__name__)
        await self.close()

    async def close(self) -> None:
        """As nats-py's. A reconnect that is closing the same transport does not cancel the caller."""
        try:
            await super().close()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            log.debug("closing was cut short by a reconnect that was closing as well")
            self.went_down()
            self.was_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.drain()

    def forget(self, reader: Consumer[Any] | Listener[Any]) -> None:
        """A reader has ended."""
        self._readers.discard(reader)

    def came_up(self) -> None:
        """The connection stands."""
        self._up.set()

    def went_down(self) -> None:
        """The connection is lost."""
        self._up.clear()

    def was_closed(self) -> None:
        """The connection is closed for good: nobody shall wait on it."""
        if self.hooks is not None:
            self.hooks.closed()
        for reader in list(self._readers):
            reader.closed()
        self._up.set()  # who waits for the connection looks, and finds the bus closed

    @property
    def _watched(self) -> bool:
        return self.hooks is not None and self.hooks.best_effort

    async def _make_room(self) -> None:
        """Let the connection write; a best-effort publisher is held up for a bounded time only."""
        try:
            async with asyncio.timeout(_BEST_EFFORT_WAIT):
                await self.lane.room()
        except TimeoutError:
            log.debug("the server takes events more slowly than they come")
        except nats.errors.ConnectionClosedError:
            raise BusClosed("the bus was closed while a publisher waited for room") from None

    def _count_lane_drops(self) -> None:
        """Best-effort events that were handed over and never left: the connection broke under them."""
        counted = sum(self.counters.publish_dropped.values())
        if (unsent := self.lane.dropped - counted) > 0:
            self.counters.publish_dropped[UNSENT] += unsent
            log.warning("best-effort events died with the connection", count=unsent)

    async def _settled(self, budget: float) -> bool:
        end = asyncio.get_running_loop().time() + budget
        while any(isinstance(reader, Consumer) and reader.open for reader in self._readers):
            if asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(0.01)
        return True

    def _refuse_when_closed(self) -> None:
        if self.is_closed:
            raise BusClosed("the bus is closed: connect() again")
