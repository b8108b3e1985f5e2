"""The event bus: typed events out and in, with the guarantees of their subjects' tiers."""

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Self, Unpack, overload

from mts1b_foundation.subjects import DurableSubject, Subject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.config import Settings
from mts1b_platform.eventbus.arguments import all_parameters, check_read_raw
from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.connection.network import Chance, Clock, Network
from mts1b_platform.eventbus.connection.options import ConnectionOptions
from mts1b_platform.eventbus.consumers import Deliver, Instances
from mts1b_platform.eventbus.consuming.consumer import Consumer
from mts1b_platform.eventbus.consuming.context import ConsumeContext, Reader
from mts1b_platform.eventbus.consuming.follower import Follower, Handle
from mts1b_platform.eventbus.consuming.instances.shared import SharedConsumer
from mts1b_platform.eventbus.consuming.listener import Listener
from mts1b_platform.eventbus.consuming.make_reader import make_reader
from mts1b_platform.eventbus.consuming.options import Parameters
from mts1b_platform.eventbus.consuming.ordering.key_order import Key
from mts1b_platform.eventbus.consuming.raw_reader import RawReader
from mts1b_platform.eventbus.consuming.retry import RetryPolicy
from mts1b_platform.eventbus.events.event import LiveEvent
from mts1b_platform.eventbus.events.outgoing import Ack
from mts1b_platform.eventbus.limits import check_count, check_timeout
from mts1b_platform.eventbus.publishing.ack_pipeline import AckPipeline
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.eventbus.publishing.emit import DEFAULT_DEADLINE, emit
from mts1b_platform.eventbus.publishing.emit_many import emit_many
from mts1b_platform.eventbus.publishing.ingest import Ingested, ingest
from mts1b_platform.eventbus.publishing.publisher import Publisher
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:  # nats-py is loaded when somebody wants it
    from nats.js import JetStreamContext

    from mts1b_platform.eventbus.raw import JetStream, NatsClient

log = get_logger("mts1b.eventbus")

DEFAULT_RETRY: Final = RetryPolicy()
_DRAIN_BUDGET: Final = 10.0
"""Seconds that handlers have to finish when the bus drains."""
_ACK_TIMEOUT: Final = 2.0
"""Seconds until a durable publish is sent again; the stream recognises the repeat."""


class EventBus(BusClient):
    """A connection to the bus. Made by :func:`mts1b_platform.eventbus.connect`.

    ``async with`` drains it at the end: no new events, those in hand are finished, acks are flushed.
    """

    def __init__(
        self,
        settings: Settings,
        options: ConnectionOptions,
        *,
        network: Network | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        super().__init__(settings, options, network=network, clock=clock, chance=chance)
        self.publishing = PublishContext(self, AckPipeline(self.connection, timeout=_ACK_TIMEOUT))
        """What publishing shares; for this package only."""
        self.consuming = ConsumeContext(self, self.publishing)
        """What consuming shares; for this package only."""
        self._raw: NatsClient | None = None

    @property
    def readers(self) -> list[Reader]:
        """The consumers and listeners at work; safe to ask for from another thread."""
        return self.consuming.readers

    @property
    def outstanding(self) -> int:
        """Durable publishes under way."""
        return self.publishing.pipeline.outstanding

    # Publishing.

    @overload
    async def emit(
        self,
        subject: DurableSubject[T],
        event: T,
        *,
        cause: LiveEvent[Any] | None = None,
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
        cause: LiveEvent[Any] | None = None,
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
        cause: LiveEvent[Any] | None = None,
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
            InvalidHeader: a header, ``msg_id`` or ``trace_id`` cannot go on the wire.
            InvalidArgument: ``deadline`` cannot be.
            PublishUncertain: no ack before the deadline; the event may have been stored or not.
            NoStream: no stream stores the subject.
            JetStreamUnavailable: the server has no JetStream.
            BusClosed: the bus was closed.
        """
        return await emit(
            self.publishing,
            subject,
            event,
            cause=cause,
            msg_id=msg_id,
            trace_id=trace_id,
            headers=headers,
            deadline=deadline,
        )

    async def emit_many(
        self,
        subject: DurableSubject[T],
        events: Iterable[T],
        *,
        atomic: bool = False,
        cause: LiveEvent[Any] | None = None,
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
            InvalidArgument: ``window`` or ``deadline`` cannot be.
            PublishError: as :meth:`emit`, of the first event or batch that failed; those before it are stored.
        """
        check_count("window", window)
        check_timeout("deadline", deadline)
        return await emit_many(
            self.publishing,
            subject,
            list(events),
            atomic=atomic,
            trace_id=cause.trace_id if cause else None,
            window=window,
            deadline=deadline,
        )

    async def ingest(
        self,
        subject: DurableSubject[T],
        events: Iterable[T] | AsyncIterable[T],
        *,
        deadline: float = DEFAULT_DEADLINE,
    ) -> Ingested:
        """Load any number of events, such as a history, in order, in atomic batches.

        All are stored when this returns. There is no ack for each: who needs the sequences uses :meth:`emit_many`.

        Args:
            subject: where.
            events: the payloads, of the subject's type; read as they are sent, a few thousand ahead at most.
            deadline: seconds without any progress until it gives up.

        Raises:
            InvalidArgument: ``deadline`` cannot be.
            PublishError: an event was refused, or the stream takes no fast ingest; says how many are stored.
            PublishUncertain: no progress before the deadline; says how many are stored for certain.
            BusClosed: the bus was closed.
        """
        check_timeout("deadline", deadline)
        return await ingest(self.publishing, subject, events, deadline=deadline)

    def publisher(self, subject: Subject[T]) -> Publisher[T]:
        """The publisher bound to ``subject`` on this bus; the same one each time.

        Raises:
            NotTheProducer: this process does not speak as the subject's producer.
        """
        return self.publishing.publisher(subject)

    # Consuming.

    @overload
    def consume(
        self,
        subject: DurableSubject[T],
        *more: DurableSubject[T],
        durable: str,
        policy: RetryPolicy = DEFAULT_RETRY,
        deliver: Deliver = "all",
        prefetch: int = 512,
        ack_wait: float | None = None,
        inactive_threshold: float | None = None,
        ordered_by: Key | None = None,
        instances: Literal["one", "standby"] = "one",
        takeover: float | None = None,
        member: str | None = None,
        where: Mapping[str, str | None] | None = None,
        **parameters: Unpack[Parameters],
    ) -> Consumer[T]: ...

    @overload
    def consume(
        self,
        subject: DurableSubject[T],
        *more: DurableSubject[T],
        durable: str,
        policy: RetryPolicy = DEFAULT_RETRY,
        deliver: Deliver = "all",
        prefetch: int = 512,
        ack_wait: float | None = None,
        inactive_threshold: float | None = None,
        ordered_by: str,
        instances: Literal["share"],
        takeover: float | None = None,
        keys: Iterable[str] | None = None,
        member: str | None = None,
        where: Mapping[str, str | None] | None = None,
        **parameters: Unpack[Parameters],
    ) -> SharedConsumer[T]: ...

    def consume(
        self,
        subject: DurableSubject[T],
        *more: DurableSubject[T],
        durable: str,
        policy: RetryPolicy = DEFAULT_RETRY,
        deliver: Deliver = "all",
        prefetch: int = 512,
        ack_wait: float | None = None,
        inactive_threshold: float | None = None,
        ordered_by: Key | None = None,
        instances: Instances = "one",
        takeover: float | None = None,
        keys: Iterable[str] | None = None,
        member: str | None = None,
        where: Mapping[str, str | None] | None = None,
        **parameters: Unpack[Parameters],
    ) -> Consumer[T] | SharedConsumer[T]:
        """Read a durable subject: ``async for event in bus.consume(…): async with event: …``.

        Args:
            subject: what to read; of a verb subject both forms, with and without fund.
            more: further subjects of the same stream, read in the stream's order.
            durable: the name under which the server remembers what was read; instances that share it share the work.
            policy: when a failed event comes again, and when it becomes a dead letter.
            deliver: where a durable that does not exist yet begins.
            prefetch: most events that are asked for, wait here or are being handled.
            ack_wait: seconds after which an event of a crashed process is given to another; 30 for a new durable, and
                what it was created with for one that exists.
            inactive_threshold: seconds without a reader after which the server forgets the durable; None: never.
            ordered_by: a field of the payload, or a function of it: events that agree in it are handled one after the
                other, in the stream's order, a failed one before those behind it.
            instances: how many may keep that order together. ``"one"``: one. ``"standby"``: start as many as you like,
                one is handed events, another takes over when it ends (``consumer.active``, ``consumer.changes()``).
                ``"share"``: each is handed the events of some keys (``consumer.keys``); ``ordered_by`` then names a
                parameter of the subject, such as ``"fund_id"``.
            takeover: of several instances: seconds from the last sign of life of one until another takes over, 1 to
                60; 5 for a new durable, and what it was created with for one that exists.
            keys: of ``"share"``: the keys; without, those that are declared for this durable (``shares``).
            member: of several instances: the name of this one. With one that it has after a restart too, a restart
                within ``takeover`` moves no keys.
            where: the same as ``parameters``, for what a subject of your own is told apart by: ``{"venue": "X"}``.
            parameters: read one key or fund only, such as ``fund_id="alpha"``.

        Raises:
            UnknownParameter: the subject has no such parameter.
            NotStored: the subject is best effort.
            InvalidArgument: ``instances`` without ``ordered_by``, a ``takeover`` that cannot be, keys that are not
                declared or too many.
        """
        self.refuse_when_closed()
        consumer = make_reader(
            self.consuming,
            (subject, *more),
            durable,
            parameters=all_parameters(where, parameters),
            ordered_by=ordered_by,
            instances=instances,
            takeover=takeover,
            keys=keys,
            member=member,
            options={
                "policy": policy,
                "deliver": deliver,
                "prefetch": prefetch,
                "ack_wait": ack_wait,
                "inactive_threshold": inactive_threshold,
            },
        )
        self.consuming.remember(consumer)
        return consumer

    def follow(
        self,
        subject: DurableSubject[T],
        *more: DurableSubject[T],
        name: str,
        handle: Handle[T],
        deliver: Literal["all", "new"] = "all",
        window: int = 512,
        inactive_threshold: float = 600.0,
    ) -> Follower[T]:
        """Give each event of a durable subject to ``handle``, in the stream's order, acknowledging nothing.

        For whoever keeps nothing that outlives its process, such as a backtest: several times as fast as
        :meth:`consume`, and what fails ends it. ``await follower.run()`` hands out.

        Args:
            subject: what to read.
            more: further subjects of the same stream.
            name: of the consumer on the server, which is this follower's alone.
            handle: a plain function. It returns None, or what is to be awaited before the next event is handed out.
            deliver: where to begin: at the first stored event or at the next.
            window: most events that are asked for or wait here.
            inactive_threshold: seconds without this follower after which the server forgets the consumer.

        Raises:
            NotStored: the subject is best effort.
            InvalidArgument: a value that cannot work.
        """
        self.refuse_when_closed()
        return Follower(
            self.consuming,
            (subject, *more),
            name,
            handle,
            deliver=deliver,
            window=window,
            inactive_threshold=inactive_threshold,
        )

    def listen(
        self,
        subject: Subject[T],
        handler: Callable[[LiveEvent[T]], object] | None = None,
        *,
        conflate: bool = False,
        limit: int = 65_536,
        group: str | None = None,
        where: Mapping[str, str | None] | None = None,
        **parameters: Unpack[Parameters],
    ) -> Listener[T]:
        """Receive events as they pass, by iterating or by a callback.

        ::

            async for event in bus.listen(MARKETDATA_QUOTES, symbol="BTC/USD"):
                ...

            async with bus.listen(MARKETDATA_QUOTES, on_quote, symbol="BTC/USD"):
                ...  # on_quote(event) is called for each, until the block ends

        Best effort whatever the subject's tier: nothing is stored for this reader, nothing acknowledged.

        Args:
            subject: what to listen to; of a verb subject both forms.
            handler: a plain function that is called with each event as it arrives, a turn of the event loop earlier
                than by iterating. It must not block: the connection waits for it. What it raises is logged, counted,
                and costs its own event only.
            conflate: keep only the latest event of each concrete subject when a reader that iterates is behind.
            limit: most events that wait for a reader that iterates; the oldest gives way, counted.
            group: of the listeners of one group each event goes to one, the server chooses to which; without order over
                them. Everybody without one gets every event.
            where: the same as ``parameters``, for what a subject of your own is told apart by: ``{"venue": "X"}``.
            parameters: listen to one key or fund only; without one to all.

        Raises:
            UnknownParameter: the subject has no such parameter, or a wildcard was given for one.
            InvalidArgument: ``group`` is no name.
        """
        self.refuse_when_closed()
        given = all_parameters(where, parameters)
        listener = Listener(
            self.consuming, subject, handler, parameters=given, conflate=conflate, limit=limit, group=group
        )
        self.consuming.remember(listener)
        return listener

    def read_raw(self, stream: str, durable: str, *, window: int = 50, ack_wait: float = 30.0) -> RawReader:
        """Read a durable whose messages are no registered events: ``async with bus.read_raw(…) as messages: …``.

        Args:
            stream: name of the stream.
            durable: name of its consumer, which exists.
            window: most messages that are asked for, wait here or are not settled.
            ack_wait: the durable's ack wait, in seconds.

        Raises:
            InvalidArgument: a value that cannot work.
        """
        self.refuse_when_closed()
        check_read_raw(stream, durable, window=window, ack_wait=ack_wait)
        return RawReader(self.consuming, stream, durable, window=window, ack_wait=ack_wait)

    # nats-py beside it.

    @property
    def nats(self) -> "NatsClient":
        """A nats-py client with the same settings, which connects when it is first used; closed with the bus.

        For whatever of nats-py's surface the bus does not have: micro services, object stores. It is a connection of
        its own: what is published on it has no order with what ``emit`` publishes.
        """
        if self._raw is None:
            from mts1b_platform.eventbus import raw

            self._raw = raw.NatsClient(self)
        return self._raw

    def jetstream(self, **options: Any) -> "JetStream":
        """nats-py's JetStream context on :attr:`nats`; see :class:`JetStream` for what is different underneath."""
        from mts1b_platform.eventbus import raw

        return raw.JetStream(self, self.nats, self.consume, **options)

    def plain_jetstream(self, **options: Any) -> "JetStreamContext":
        """nats-py's own context on :attr:`nats`, as it is."""
        import nats.js

        return nats.js.JetStreamContext(self.nats, **options)

    # Life.

    async def drain(self) -> None:
        """End gracefully: stop reading, let handlers finish, flush acks, close. Bounded in time, safe to repeat."""
        if self.is_closed:
            return
        for reader in self.readers:
            await reader.stop()
        if not await self._settled(_DRAIN_BUDGET):
            log.warning("handlers did not finish in time; their events come again", seconds=_DRAIN_BUDGET)
        await self.connection.drain()
        await self.close()

    async def close(self) -> None:
        """Close at once: what is written already goes out, within two seconds. Safe to repeat."""
        raw, self._raw = self._raw, None
        try:
            if raw is not None:
                await raw.close()
        finally:
            await super().close()

    def was_closed(self) -> None:
        """The connection is closed for good: nobody shall wait on it."""
        for reader in self.readers:
            reader.closed()
        super().was_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.drain()

    async def _settled(self, budget: float) -> bool:
        """Wait until every event that was handed out is settled, at most ``budget`` seconds; says whether they are."""
        end = asyncio.get_running_loop().time() + budget
        while any(reader.open for reader in self.readers):
            if asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(0.01)
        return True
