"""Listening to events as they pass: by iterating, or by a callback.

*Iterating*: events wait for the reader in bounded memory. Without conflation the oldest waiting event gives way to the
newest; with it only the latest event of each concrete subject waits, so that a slow reader of quotes always reads the
current price. What gives way is counted.

*A group*: of the listeners that name the same one each event goes to one, whichever the server chooses. Nothing says
that two events of one symbol go to the same one, so there is no order over them.

*A callback* is called from the connection's reader, one turn of the event loop earlier than a reader that iterates.
Nothing waits, nothing gives way. It must not block: everything that the connection receives waits for it meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Generic, Self, cast

from mts1b_foundation.subjects import Subject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.arguments import check_listen
from mts1b_platform.eventbus.codec.decoder import Refused
from mts1b_platform.eventbus.connection.subscription import Subscription, refuse_when_refused
from mts1b_platform.eventbus.consuming.backlog import Backlog, Conflate, DropOldest
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.core import CORE, ListenReader
from mts1b_platform.eventbus.errors import BusClosed, ConsumeError, InvalidArgument, ServerUnavailable
from mts1b_platform.eventbus.events.event import LiveEvent
from mts1b_platform.eventbus.hooks import of_best_effort_handlers
from mts1b_platform.eventbus.jetstream.api import where
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.listener")

_STORED = b"Nats-Stream: "
"""In the headers of what a stream was asked for, and never in those of a live event."""


class Listener(Generic[T]):
    """Events of one subject from now on, as an async iterator or given to a callback. Made by ``bus.listen``.

    ``async with`` makes sure that the server knows of the subscription before the block begins.
    """

    def __init__(
        self,
        context: ConsumeContext,
        subject: Subject[T],
        handler: Callable[[LiveEvent[T]], object] | None = None,
        *,
        parameters: dict[str, str | None],
        conflate: bool,
        limit: int,
        group: str | None,
    ) -> None:
        check_listen(subject, conflate=conflate, limit=limit, group=group, where=parameters)
        if handler is not None and conflate:
            raise InvalidArgument("a callback is given every event: conflate is for a reader that iterates")
        self._context = context
        self._client = context.client
        self._subject = subject
        self._handler = handler
        self._group = group or ""
        self._deliver = self._put if handler is None else self._call
        self._filters = subject.filters(**parameters)
        decoder = context.decoder([subject])
        self._decode = decoder.decode
        self._compiled = decoder.compiled
        self._backlog: Backlog = Conflate(limit) if conflate else DropOldest(limit)
        self._take = self._backlog.take
        self._consumed = self._client.counters.consumed
        self._hooks = self._client.hooks
        self._told = of_best_effort_handlers(self._hooks)
        self._ready = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._stopped = False
        # People may ask streams for history, and the server sends the answer wherever they say.
        self._wary = self._client.identity.has_token
        self._lost = False
        self.dropped = 0
        """Events that gave way because this reader was too slow."""

    def __repr__(self) -> str:
        among = f" as one of {self._group}" if self._group else ""
        return f"<Listener {', '.join(self._filters)}{among}>"

    @property
    def subject(self) -> Subject[T]:
        """What is listened to."""
        return self._subject

    @property
    def patterns(self) -> tuple[str, ...]:
        """The registered pattern that is listened to."""
        return (self._subject.pattern,)

    @property
    def open(self) -> int:
        """None: a live event is not settled."""
        return 0

    @property
    def waiting(self) -> int:
        """How many events wait here for the reader."""
        return len(self._backlog)

    async def start(self) -> None:
        """Subscribe; returns when the server has taken note.

        Raises:
            AccessDenied: this identity may not subscribe to the subject.
            SubscriptionRefused: the server takes no more subscriptions of this connection.
        """
        if self._subscriptions:
            return
        try:
            for pattern in self._filters:
                self._subscriptions.append(self._client.connection.subscribe(pattern, self._deliver, queue=self._group))
            for pattern in self._filters:
                await self._client.confirm("subscribe", pattern)
            refuse_when_refused(self._subscriptions, repr(self))
        except BusClosed:
            raise BusClosed(f"{self!r}: the bus is closed") from None
        except (TimeoutError, ServerUnavailable):
            if self._client.is_closed:
                raise BusClosed(f"{self!r}: the bus was closed") from None
            raise ServerUnavailable(
                f"{self!r}: the server did not confirm the subscription at {where(self._client)}; it takes effect when "
                "the connection is back"
            ) from None

    async def stop(self) -> None:
        """Unsubscribe; what waits is still handed out, then the iteration ends."""
        self._stopped = True
        self._ready.set()
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            subscription.unsubscribe()
        self._context.forget(self)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __aiter__(self) -> AsyncIterator[LiveEvent[T]]:
        reader = None if self._handler is not None else self._make_reader()
        return self if reader is None else cast("AsyncIterator[LiveEvent[T]]", reader)

    def _make_reader(self) -> ListenReader | None:
        """The compiled core's way of iterating, if it has one; it asks :meth:`__anext__` for what is not common."""
        if CORE is None or self._compiled is None or not isinstance(self._backlog, DropOldest):
            return None
        queue, told = self._backlog.queue, of_best_effort_handlers
        return CORE.ListenReader(self, self._client, queue, self._compiled, self._consumed, told)

    async def __anext__(self) -> LiveEvent[T]:
        """The next event.

        Raises:
            BusClosed: the connection was closed while waiting.
            ConsumeError: the events are given to a callback.
        """
        if self._handler is not None:
            raise ConsumeError(f"{self!r} gives its events to a callback: iterate a listener without one")
        if not self._subscriptions and not self._stopped:
            await self.start()
        if self._client.hooks is not self._hooks:
            self._look_at_hooks()
        while True:
            try:
                msg = self._take()
            except LookupError:
                await self._wait_for_message()
                continue
            if self._wary and self._is_history(msg):
                continue
            try:
                registered, name, payload, _ = self._decode(msg)
            except Refused as refused:
                self._refuse(msg, refused)
                continue
            self._consumed[registered.pattern] += 1
            return LiveEvent(registered, name, msg, payload, self._told)

    async def _wait_for_message(self) -> None:
        """Wait until something may wait here; raises when nothing will."""
        if self._stopped:
            if self._client.ending is not None:
                raise self._client.ending
            if self._lost:
                raise BusClosed(f"{self!r}: the bus was closed while it listened")
            raise StopAsyncIteration
        self._ready.clear()
        await self._ready.wait()

    def closed(self) -> None:
        """The connection is closed for good: wake a waiting reader."""
        self._lost = not self._stopped
        self._stopped = True
        self._ready.set()

    def _put(self, batch: list[RawMsg]) -> None:
        """Take what one read brought; called by the connection's reader, so it only queues."""
        if dropped := self._backlog.put(batch):
            self.dropped += dropped
            self._client.counters.slow_consumer_drops[self._subject.pattern] += dropped
        self._ready.set()

    def _call(self, batch: list[RawMsg]) -> None:
        """Give what one read brought to the callback; called by the connection's reader."""
        assert self._handler is not None  # noqa: S101 - subscribed only then
        handler, consumed, wary = self._handler, self._consumed, self._wary
        if self._client.hooks is not self._hooks:
            self._look_at_hooks()
        hooks = self._told
        read = None if (reader := self._make_reader()) is None else reader.event
        for msg in batch:
            if read is not None and (common := read(msg)) is not None:
                self._hand(handler, common)
                continue
            if wary and self._is_history(msg):
                continue
            try:
                registered, name, payload, _ = self._decode(msg)
            except Refused as refused:
                self._refuse(msg, refused)
                continue
            consumed[registered.pattern] += 1
            self._hand(handler, LiveEvent(registered, name, msg, payload, hooks))

    def _hand(self, handler: Callable[[LiveEvent[T]], object], event: LiveEvent[T]) -> None:
        try:
            handler(event)
        except Exception as error:
            self._client.counters.consume_errors[event.registered.pattern] += 1
            log.error("a listener's callback failed", exc_info=error, **event.log_fields())

    def _look_at_hooks(self) -> None:
        self._hooks = self._client.hooks
        self._told = of_best_effort_handlers(self._hooks)

    def _is_history(self, msg: RawMsg) -> bool:
        if _STORED not in msg[2]:
            return False
        self._client.counters.schema_mismatch[self._subject.pattern] += 1
        log.warning("stored history arrived among live events: somebody has sent it here", subject=msg[0])
        return True

    def _refuse(self, msg: RawMsg, refused: Refused) -> None:
        self._client.counters.schema_mismatch[refused.pattern] += 1
        log.warning("message refused", subject=msg[0], reason=refused.reason.value, error=str(refused))
