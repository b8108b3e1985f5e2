"""Consuming in order: of the events with one key, the next is handed out when the one before it is done with.

Guarantees, beside those of ``consumer.py``:

- Order holds however often an event had to be tried again, after a crash of this process or the server, and over a
  broken connection (``gap_guard.py``).
- What was acknowledged here is not handed out again when its ack was late or lost.
- It holds for one instance at a time; to share the work and keep the order, give each instance a durable for funds or
  keys of its own.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.consumers import MAX_ACK_PENDING
from mts1b_platform.eventbus.consuming.consumer import Consumer
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.ordering.gap_guard import ConsumerState, GapResolver
from mts1b_platform.eventbus.consuming.ordering.key_order import Key, KeyOrder
from mts1b_platform.eventbus.consuming.ordering.ordered_settling import OrderedSettler
from mts1b_platform.eventbus.consuming.prefetch import Prefetch
from mts1b_platform.eventbus.consuming.settling import crashed
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.position import Position
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")


class OrderedConsumer(Consumer[T]):
    """The events of one durable in the order of their keys. Made by ``bus.consume(…, ordered_by=…)``."""

    def __init__(
        self,
        context: ConsumeContext,
        subjects: Sequence[DurableSubject[T]],
        durable: str,
        *,
        ordered_by: Key,
        **options: Any,
    ) -> None:
        self._order: KeyOrder[T] = KeyOrder(ordered_by, lambda: self._wake.set())
        super().__init__(context, subjects, durable, **options)
        self._resolver: GapResolver[Event[T]] | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._unhook: Callable[[], None] | None = None

    @property
    def open(self) -> int:
        """How many events are being handled."""
        return super().open - len(self._order)

    @property
    def waiting(self) -> int:
        """How many events wait here for the handler, or for those before them."""
        return super().waiting + len(self._order)

    async def stop(self) -> None:
        """Stop pulling; events that nobody has begun to handle go back to the server at once."""
        self._stopping = self._settler.stopping = True
        self._wake.set()
        if self._prefetch is not None:
            await self._prefetch.stop()
        self._stop_resolving()
        waiting = self._order.clear()
        for event in sorted(waiting, key=lambda event: event.seq, reverse=True):  # back in order: last in, first out
            self._settler.answer(event.reply, b"-NAK")
            await self._settler.room()
        await super().stop()

    def closed(self) -> None:
        """The connection is closed for good: nothing held here can be answered any more."""
        self._stop_resolving()
        self._order.clear()
        super().closed()

    # Taking in.

    def _new_settler(self) -> OrderedSettler:
        return OrderedSettler(self._context, self.durable, self.policy, self._release_if_done, self._order)

    def _take_fast(self) -> None:
        """Something is to be decided about every event."""

    async def _next(self) -> Event[T] | None:
        prefetch = await self._started()
        if self._order.ready:
            return await self._its_turn(self._order.ready.popleft())
        if (msg := prefetch.take()) is None:
            await self._wait_for_message(prefetch)
            return None
        event = await self._admit(WireMsg(*msg))
        return None if event is None else await self._in_order(event)

    async def _wait_for_message(self, prefetch: Prefetch) -> None:
        if self._resolving is not None and self._resolving.done():
            self._resolving.result()
        await super()._wait_for_message(prefetch)

    def _on_arrival(self, position: Position, _reply: bytes, /) -> None:
        if self._order.came(position):
            self._resolve_gaps()

    async def _in_order(self, event: Event[T]) -> Event[T] | None:
        """``event`` when it is handed out now; None when it waits for others, is here already or was done before."""
        order, settler = self._order, self._settler
        if order.was_done(event):
            self._client.counters.deduplicated[event.registered.pattern] += 1
            settler.answer(event.reply, b"+ACK")
            await settler.room()
        elif order.is_here(event):
            settler.forget(event.reply)
        elif order.guard.up:
            if (earlier := order.guard.hold(event.key, event)) is not None:
                settler.forget(earlier.reply)
        elif self._enter(event):
            return await self._its_turn(event)
        return None

    def _enter(self, event: Event[T]) -> bool:
        """Whether ``event`` may be handed out now. Nothing is awaited here: who comes first enters first."""
        if self._is_to_blame(event):
            self._order.blamed.add(event.key)
        return self._order.enter(event)

    async def _its_turn(self, event: Event[T]) -> Event[T] | None:
        """``event``, unless it is given up instead; when that fails it comes again, to be given up."""
        if event.key not in self._order.blamed:
            return event
        await self._settler.give_up(event, DeadLetterReason.MAX_DELIVERIES, crashed(event.deliveries - 1))
        return None

    # Missing deliveries.

    async def _begin(self) -> None:
        missing = await self._look_behind()
        self._new_prefetch(careful=not missing)
        if self._order.guard.up:
            self._resolve_gaps()

    async def _look_behind(self) -> int:
        """How many messages are under way from before; with none the guard comes down."""
        self._resolver = GapResolver(
            self._order.guard,
            self.durable,
            state=self._consumer_state,
            here=self._order.here,
            ack_again=self._ack_again,
            patience=2 * self._ack_wait + self.policy.cap + 1,  # its ack wait, or a delay, is over then
        )
        if self._unhook is None:
            self._unhook = self._client.connection.on_break(self._broke)
        return await self._resolver.look_once() or 0

    def _broke(self) -> None:
        """The connection broke: what was on its way is lost."""
        if self._resolver is not None and not self._stopping:
            self._order.guard.doubt()
            self._resolver.be_patient()
            self._resolve_gaps()

    def _resolve_gaps(self) -> None:
        """The guard is up: see to it that it comes down."""
        if self._prefetch is None or (self._resolving is not None and not self._resolving.done()):
            return
        self._prefetch.make_room(MAX_ACK_PENDING)  # however much newer is held, what is missing must get in
        self._resolving = asyncio.create_task(self._resolve(), name=f"order {self.durable}")
        self._resolving.add_done_callback(lambda _: self._wake.set())

    async def _resolve(self) -> None:
        if self._resolver is None or self._prefetch is None:
            return
        held = await self._resolver.look()
        for event in self._order.guard.take_forgotten():
            self._settler.forget(event.reply)
        for event in held:
            if self._enter(event):
                self._order.add(event)
        self._prefetch.make_room(0)

    def _stop_resolving(self) -> None:
        if self._resolving is not None:
            self._resolving.cancel()
        if self._unhook is not None:
            self._unhook()

    async def _consumer_state(self) -> ConsumerState:
        return ConsumerState.of(await js_api(self._client, f"CONSUMER.INFO.{self._stream}.{self.durable}"))

    async def _ack_again(self, state: ConsumerState) -> None:
        """Send the acks that may have been lost, so that what was done here need not come again."""
        connection = self._client.connection
        for reply in self._order.acks(state):
            try:
                if connection.ack(reply):
                    await connection.writable()
            except BusError as error:
                log.debug("acks are not sent again; what was done comes again", error=str(error))
                return
