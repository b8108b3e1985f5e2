"""Consuming a durable subject: every event is handed to a handler until it is done with, or a dead letter.

Guarantees:

- Pull consumers underneath: several instances share one durable, each event goes to one of them at a time.
- An event leaves the consumer acknowledged or stored as a dead letter (``settling.py``).
- A failing handler is tried again after an exponential delay, never in a tight loop.
- Tries are counted when a handler was begun or failed (``tries.py``), not when something was delivered: a restart, a
  pause, a crash of a neighbour spends none.
- What this process holds or has acknowledged is not handed out by it again, also when its ack was late or lost.
- A handler that computes without a pause does not keep acks from leaving: the iteration gives the event loop a turn.
- A consumer that nobody refers to any more stops, and gives back what waited.
- What waits here or is being handled is kept from redelivery however long it takes (``prefetch.py``).
- A durable that is deleted while in use raises; a server that restarts is waited for.

In what order the events of one key are handled is the business of ``ordering/``.
"""

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Self, cast

from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.arguments import check_consume
from mts1b_platform.eventbus.codec.decoder import Refused
from mts1b_platform.eventbus.consumers import MAX_ACK_PENDING, Deliver
from mts1b_platform.eventbus.consuming.changes import Active, Change, Changes
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.prefetch import Prefetch
from mts1b_platform.eventbus.consuming.retry import RetryPolicy
from mts1b_platform.eventbus.consuming.settling import Settler
from mts1b_platform.eventbus.consuming.tries import Tries
from mts1b_platform.eventbus.consuming.workers import work_off
from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.errors import BusClosed
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.events.once import DedupeStore
from mts1b_platform.eventbus.hooks import of_handlers
from mts1b_platform.eventbus.jetstream.durables import DEFAULT_ACK_WAIT, ensure_durable, is_newer, stream_of
from mts1b_platform.eventbus.limits import check_concurrency
from mts1b_platform.eventbus.protocol.envelope import ONLY_DURABLE
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.position import NotJetStream, Position, first_delivery
from mts1b_platform.eventbus.weak import weakly
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

_ONLY: Final = ONLY_DURABLE.lower().encode()
GROUP: Final = 64
"""Most events that `behind` names."""
_TURN: Final = 0.005
"""Seconds after which the iteration gives the event loop a turn."""


class Consumer(Generic[T]):
    """The events of one durable, as an async iterator. Made by ``bus.consume``.

    Ends when :meth:`stop` was called or the bus drains; raises when it cannot go on.
    """

    # what is looked at for every event has a slot, where the compiled core finds it
    __slots__ = ("__dict__", "__weakref__", "_first_delivery", "_prefetch", "_stopping")

    def __init__(
        self,
        context: ConsumeContext,
        subjects: Sequence[DurableSubject[T]],
        durable: str,
        *,
        parameters: dict[str, str | None],
        policy: RetryPolicy,
        deliver: Deliver,
        prefetch: int,
        ack_wait: float | None,
        inactive_threshold: float | None,
    ) -> None:
        self._filters = check_consume(
            subjects,
            durable,
            deliver=deliver,
            prefetch=prefetch,
            ack_wait=ack_wait,
            inactive_threshold=inactive_threshold,
            where=parameters,
        )
        self.durable = durable
        self.policy = policy
        self._context = context
        self._client = context.client
        self._subjects = subjects
        decoder = context.decoder(subjects)
        self._decode = decoder.decode
        self._compiled = decoder.compiled
        self._deliver: Deliver = deliver
        self._window = prefetch
        self._ack_wait = ack_wait or DEFAULT_ACK_WAIT
        self._stated_ack_wait = ack_wait
        self._inactive_threshold = inactive_threshold
        self._stated_takeover: float | None = None
        self._takeover = 0.0
        """Seconds after which another instance takes over from one that dies; of a reader that has others beside it."""
        self.changes_feed = Changes()
        """For this package only."""
        self._wake = asyncio.Event()
        self._settler = self._new_settler()
        self._stream = ""
        self._prefetch: Prefetch | None = None
        self._first_delivery = b""
        """How the reply subjects of first deliveries begin."""
        self._turned = 0.0
        self._has_started = False
        self._stopping = False
        self._start_lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Consumer {self.durable!r} of {', '.join(self._filters)}>"

    @property
    def patterns(self) -> tuple[str, ...]:
        """The registered patterns that are read."""
        return tuple(subject.pattern for subject in self._subjects)

    @property
    def stream(self) -> str:
        """The stream that is read; empty until the consumer has started."""
        return self._stream

    @property
    def has_started(self) -> bool:
        """Whether the durable was found or created, and is read."""
        return self._has_started

    @property
    def store_away(self) -> str | None:
        """Why nothing is handed out, when a store that the handler needs is away."""
        return self._settler.pause.reason

    @property
    def store_held(self) -> bool:
        """Whether that store is away because another process keeps it locked."""
        return self._settler.pause.held

    @property
    def active(self) -> bool:
        """Whether this instance is handed events now: of several with ``instances="standby"`` one is."""
        return self._has_started and not self._stopping

    @property
    def may_stand_by(self) -> bool:
        """Whether it is one of several instances, of which one at a time is handed events."""
        return self._pinned

    def changes(self) -> AsyncIterator[Change]:
        """What this instance is, and each change of it, until the consumer stops: ``Active`` or ``Standby``.

        ::

            async for change in consumer.changes():
                if isinstance(change, Active):
                    await broker.log_in()
        """
        return self.changes_feed.follow()

    @property
    def open(self) -> int:
        """How many events are being handled."""
        return self._settler.open

    @property
    def waiting(self) -> int:
        """How many events wait here for the handler."""
        return len(self._prefetch.queue) if self._prefetch is not None else 0

    async def start(self) -> None:
        """Find or create the durable and begin to pull.

        Iterating does it by itself; calling it first surfaces errors early.

        Raises:
            ConsumerConflict: the durable exists and reads something else.
            NoStream: the stream does not exist.
            ConsumerGone: the durable was deleted meanwhile.
            JetStreamUnavailable: JetStream does not answer.
        """
        async with self._start_lock:
            if self._prefetch is None:
                self._stream = await stream_of(self._client, self._subjects)
                kept = await ensure_durable(
                    self._client,
                    stream=self._stream,
                    durable=self.durable,
                    filters=self._filters,
                    ack_wait=self._stated_ack_wait,
                    deliver=self._deliver,
                    max_ack_pending=MAX_ACK_PENDING,
                    inactive_threshold=self._inactive_threshold,
                    service=self._client.settings.service,
                    pinned=self._pinned,
                    takeover=self._stated_takeover,
                )
                self._ack_wait, self._takeover = kept.ack_wait, kept.takeover
                self._first_delivery = first_delivery(self._stream, self.durable)
                self._settler.tries = Tries(self._client, self._stream, self.durable)
                await self._begin()
            if self._prefetch is not None:
                await self._prefetch.start()
            self._has_started = True
            if not self._pinned:
                self.changes_feed.announce(Active())

    async def stop(self) -> None:
        """Stop pulling; events that nobody has begun to handle go back to the server at once."""
        self._stopping = True
        self._wake.set()
        await self._settler.stop()
        self.changes_feed.end()

    async def behind(self, event: Event[T], *, most: int = GROUP) -> Sequence[Event[T]]:
        """What the handler of ``event`` may do in the same transaction: the events that wait for it in its order.

        Those of its key that have arrived, oldest first, ``most`` at most; nothing is waited for. Each still has its
        turn, in which it is acknowledged: whoever acts on it now marks it (``event.mark``) and passes it over then.
        There are none without ``ordered_by``, none that were delivered before, and none behind an event that was: what
        may have crashed a handler is tried alone.
        """
        del event, most
        return ()

    def release(self, event: Event[Any]) -> None:
        """Leave ``event`` to a caller who answers the server himself: it is not kept from redelivery any more."""
        self._settler.release(event)

    def closed(self) -> None:
        """The connection is closed for good: nothing held here can be answered any more."""
        if self._prefetch is not None:
            self._prefetch.close()
            closed = BusClosed(f"{self!r}: the bus was closed; open events come again")
            self._prefetch.failure = self._prefetch.failure or self._client.ending or closed
        self._settler.pause.end()
        self.changes_feed.end()
        self._wake.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __aiter__(self) -> AsyncIterator[Event[T]]:
        if CORE is None or self._compiled is None or not self._takes_as_they_come:
            return self
        # it asks `__anext__` for what is not common
        reader = CORE.ConsumeReader(self, self._client, self._settler, self._compiled, of_handlers, _TURN)
        return cast("AsyncIterator[Event[T]]", reader)

    async def __anext__(self) -> Event[T]:
        """The next event. Several tasks may ask at a time; each event goes to one of them.

        Raises:
            ConsumerGone: the durable was deleted.
            BusClosed: the bus was closed under the iteration.
        """
        if time.monotonic() - self._turned > _TURN:
            await self._turn()
        pause = self._settler.pause
        while not self._stopping:
            event: Event[T] | None = None
            if pause.reason is not None:
                event = await pause.next()
                if event is not None and event.tries > self.policy.max_deliveries:
                    await self._settler.tried_enough(event)
                    continue
                if event is None and self._stopping:
                    break
            if event is None:
                try:
                    event = self._take_fast() or await self._next()
                except BusClosed:
                    if self._stopping:  # the bus drained while this was still about to begin
                        break
                    raise
            if event is not None:
                if self._client.hooks is not None:
                    event.received_at = time.time()
                return event
        raise StopAsyncIteration

    async def run(
        self,
        handler: Callable[[Event[T]], Awaitable[None]] | Callable[[Event[T]], None],
        *,
        concurrency: int = 1,
        effects: DedupeStore[Any] | None = None,
    ) -> None:
        """Hand every event to ``handler``, up to ``concurrency`` at a time, until the consumer is stopped.

        Each call runs inside ``async with event``: it returns and the event is acknowledged, it raises and the event
        comes again, at last as a dead letter. When the reading cannot go on, the consumer is stopped, and the
        calls at work finish.

        Args:
            handler: a coroutine function; or a plain function, which runs in a thread. One that is still at work when
                this is cancelled keeps its event unsettled: it comes again when the ack wait is over.
            concurrency: calls at work at a time.
            effects: the store that the handler uses. An event that was tried as often as it may be is acknowledged
                when its effect is there, instead of becoming a dead letter.

        Raises:
            InvalidArgument: ``concurrency`` is no number of calls.
            ConsumeError, BusClosed: as iterating does.
        """
        self.look_up(effects)
        check_concurrency(concurrency)
        self._settler.pause.several_at_work = concurrency > 1
        await work_off(
            self,
            handler,
            concurrency=concurrency,
            name=self.durable,
            stop=self.stop,
            unsettled=self.leave_unsettled,
        )

    def look_up(self, effects: DedupeStore[Any] | None) -> None:
        """Where to look whether an event that was tried too often has had its effect; :meth:`run` says it."""
        self._settler.effects = effects

    def leave_unsettled(self, event: Event[Any]) -> None:
        """Say nothing of ``event``, whose handler is still at work: it comes again when the ack wait is over."""
        self._settler.leave_unsettled(event)

    # Where order, and several instances, differ.

    _pinned: ClassVar[bool] = False
    """Whether one of several instances at a time is handed events."""
    _takes_as_they_come: ClassVar[bool] = True
    """Whether the next event is the next message that waits, which the compiled core can see for itself."""

    def _new_settler(self) -> Settler:
        return Settler(self._context, self.durable, self.policy, weakly(self._released))

    async def _begin(self) -> None:
        """Make the prefetch; the durable exists."""
        self._new_prefetch(sort=True)

    def _take_fast(self) -> Event[T] | None:
        """The next event when nothing about it is to be decided, as with nearly every one; else :meth:`_next` sees."""
        prefetch = self._prefetch
        if prefetch is None or not (queue := prefetch.queue):
            return None
        msg = queue[0]
        reply, first = msg[1], self._first_delivery
        if reply[: len(first)] != first:
            return None
        try:
            registered, name, payload, plain = self._decode(msg)
        except Refused:
            return None
        if not plain and _ONLY in msg[2].lower():
            return None
        queue.popleft()
        prefetch.handled[reply] = msg
        return Event(registered, name, msg, payload, self._settler, of_handlers(self._client.hooks))

    async def _turn(self) -> None:
        """Let acks leave and the server be heard, however busy we are."""
        self._turned = time.monotonic()
        self._client.connection.flush_out()
        await asyncio.sleep(0)

    async def _arrival(self) -> None:
        """Wait until a message waits, or something may have changed; what waits is left to the compiled core."""
        try:
            prefetch = await self._started()
            if not prefetch.queue:
                await self._wait_for_message(prefetch)
        except BusClosed:
            if not self._stopping:
                raise

    async def _next(self) -> Event[T] | None:
        """The next event, or None when something may have changed."""
        prefetch = await self._started()
        if (msg := prefetch.take()) is None:
            await self._wait_for_message(prefetch)
            return None
        event = await self._admit(WireMsg(*msg))
        if event is None or self._was_seen(event):
            return None
        return event if event.deliveries == 1 or await self._settler.begin_again(event) else None

    def _was_seen(self, event: Event[T]) -> bool:
        """Whether this process holds ``event`` or has acknowledged it."""
        if event.deliveries == 1:
            return False
        if event.key in self._settler.acked_lately:
            self._client.counters.deduplicated[event.registered.pattern] += 1
            self._settler.answer(event.reply, b"+ACK")
            return True
        if self._prefetch is not None and self._prefetch.holds(event.key, event.reply):
            self._settler.forget(event.reply)
            return True
        return False

    def _on_arrival(self, position: Position, reply: bytes, /) -> None:
        """A message has come that :meth:`_take_fast` did not take."""
        if position.deliveries == 1:  # the server writes reply subjects in another form, with a domain for example
            self._first_delivery = first_delivery(self._stream, self.durable, like=reply)

    # What both have.

    def _new_prefetch(self, *, sort: bool, **options: Any) -> Prefetch:
        self._prefetch = self._settler.prefetch = Prefetch(
            self._client,
            self._stream,
            self.durable,
            window=self._window,
            ack_wait=self._ack_wait,
            sort=sort,
            wake=self._wake.set,
            **options,
        )
        # Held by what it is to stop, so that a loop that is dropped with everything in it can be collected.
        self._prefetch.owner = weakref.ref(self, partial(_abandon, self._settler, asyncio.get_running_loop()))
        return self._prefetch

    async def _started(self) -> Prefetch:
        if self._prefetch is None or not self._prefetch.running:
            await self.start()
        assert self._prefetch is not None  # noqa: S101 - start() has made it
        return self._prefetch

    async def _wait_for_message(self, prefetch: Prefetch) -> None:
        """Wait for a message; raises when none will come."""
        if prefetch.failure is not None:
            raise prefetch.failure
        self._wake.clear()
        prefetch.reading(+1)
        try:
            await self._wake.wait()
        finally:
            prefetch.reading(-1)

    async def _admit(self, msg: WireMsg) -> Event[T] | None:
        """The message as a typed event; None when it was given up instead."""
        try:
            position = Position.of(msg.reply)
        except NotJetStream as error:
            log.warning("something other than an event came to the pulls", durable=self.durable, error=str(error))
            self._settler.forget(msg.reply)
            return None
        self._on_arrival(position, msg.reply)
        try:
            registered, name, payload, _ = self._decode(msg)
            if self._is_for_another(msg, registered.pattern):
                self._settler.answer(msg.reply, b"+ACK")
                return None
        except Refused as refused:
            if any(is_newer(msg.subject.decode(errors="replace"), known) for known in self._filters):
                await self._settler.leave_to_newer(msg, position)
            else:
                await self._settler.refuse(msg, position, refused)
            return None
        return Event(registered, name, msg, payload, self._settler, of_handlers(self._client.hooks), position)

    def _is_for_another(self, msg: WireMsg, pattern: str) -> bool:
        """Whether ``msg`` was requeued for another durable, which had failed with it.

        Raises:
            Refused: its header says no one clear thing.
        """
        if _ONLY not in msg.head.lower():
            return False
        try:
            return msg.headers.get(ONLY_DURABLE, self.durable) != self.durable
        except HeaderError as error:
            raise Refused(DeadLetterReason.SCHEMA_MISMATCH, str(error), pattern) from error

    def _released(self) -> None:
        """Everything is settled after :meth:`stop`."""
        self._context.forget(self)


def _abandon(settler: Settler, loop: asyncio.AbstractEventLoop, _: object) -> None:
    """Nobody refers to the consumer any more. Called by the garbage collector, wherever that runs."""
    if not settler.stopping and not loop.is_closed():
        loop.call_soon_threadsafe(lambda: loop.create_task(settler.stop(), name="stop an abandoned consumer"))
