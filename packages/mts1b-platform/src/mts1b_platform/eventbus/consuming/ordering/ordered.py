"""Consuming in order: of the events with one key, the next is handed out when the one before it is done with.

Guarantees, beside those of ``consumer.py``:

- Order holds however often an event had to be tried again, after a crash of this process or the server, and over a
  broken connection (``gap_guard.py``).
- What was acknowledged here is not handed out again when its ack was late or lost.
- It holds for one instance at a time; several are a matter of ``instances/``.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice, takewhile
from typing import Any, ClassVar, Final

from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.errors import words_of
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.arguments import check_order
from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.consumers import MAX_ACK_PENDING
from mts1b_platform.eventbus.consuming.consumer import GROUP, Consumer
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.ordering.gap_guard import GapResolver
from mts1b_platform.eventbus.consuming.ordering.key_order import Key, KeyOrder
from mts1b_platform.eventbus.consuming.ordering.ordered_settling import OrderedSettler
from mts1b_platform.eventbus.consuming.prefetch import Prefetch
from mts1b_platform.eventbus.consuming.settling import log_fields
from mts1b_platform.eventbus.errors import BusClosed, BusError
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.jetstream.consumer_state import ConsumerState, consumer_state
from mts1b_platform.eventbus.limits import check_count
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.position import Position
from mts1b_platform.eventbus.weak import weakly
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

_TURN: Final = 64
"""Messages that are taken in before other tasks get their turn: signs of life among them."""


class OrderedConsumer(Consumer[T]):
    """The events of one durable in the order of their keys. Made by ``bus.consume(…, ordered_by=…)``."""

    _takes_as_they_come: ClassVar[bool] = False

    def __init__(
        self,
        context: ConsumeContext,
        subjects: Sequence[DurableSubject[T]],
        durable: str,
        *,
        ordered_by: Key,
        **options: Any,
    ) -> None:
        self._order: KeyOrder[T] = KeyOrder(ordered_by, weakly(self._wake_up))
        super().__init__(context, subjects, durable, **options)
        check_order(subjects, ordered_by)
        self._resolver: GapResolver[Event[T]] | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._unhook: Callable[[], None] | None = None

    @property
    def waiting(self) -> int:
        """How many events wait here for the handler, or for those before them."""
        return super().waiting + len(self._order)

    async def behind(self, event: Event[T], *, most: int = GROUP) -> Sequence[Event[T]]:
        """The events of its key that are here and wait for ``event``, oldest first, ``most`` at most."""
        check_count("most", most)
        if event.deliveries > 1:
            return ()
        prefetch, order = self._prefetch, self._order
        while prefetch is not None and len(order) < most and (msg := prefetch.take()) is not None:
            came = await self._admit(WireMsg(*msg))
            if came is not None and not await self._hold(came) and await self._enter(came):
                order.add(came)  # of another key
        fresh = takewhile(lambda waiting: waiting.deliveries == 1, order.behind(event))
        return tuple(islice(fresh, most))

    async def stop(self) -> None:
        """Stop pulling; events that nobody has begun to handle go back to the server at once."""
        self._stop_resolving()
        await super().stop()

    def closed(self) -> None:
        """The connection is closed for good: nothing held here can be answered any more."""
        self._stop_resolving()
        self._order.clear()
        super().closed()

    # Taking in.

    def _new_settler(self) -> OrderedSettler:
        return OrderedSettler(self._context, self.durable, self.policy, weakly(self._released), self._order)

    def _take_fast(self) -> None:
        """Something is to be decided about every event."""

    async def _next(self) -> Event[T] | None:
        prefetch = await self._started()
        if self._order.ready:
            event = self._order.ready.popleft()
            if not self._order.is_here(event):
                return await self._in_order(event)
            return await self._its_turn(event)
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
        if await self._hold(event) or not await self._enter(event):
            return None
        return await self._its_turn(event)

    async def _hold(self, event: Event[T]) -> bool:
        """Whether ``event`` is not to be handed out: it was done before, is here already, or waits for older ones."""
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
        else:
            return False
        return True

    async def _enter(self, event: Event[T]) -> bool:
        """Whether ``event`` may be handed out now; one whose key cannot be told becomes a dead letter.

        Nothing is awaited before it has entered: who comes first enters first.
        """
        try:
            return self._order.enter(event)
        except Exception as error:
            log.warning("the key of an event cannot be told", exc_info=error, **log_fields(event))
            why = f"its key cannot be told: {type(error).__name__}: {words_of(error)}"
            await self._settler.give_up(event, DeadLetterReason.REJECTED, why)
            return False

    async def _its_turn(self, event: Event[T]) -> Event[T] | None:
        """``event``, unless it is settled instead because it was tried too often."""
        return event if event.deliveries == 1 or await self._settler.begin_again(event) else None

    def _wake_up(self) -> None:
        self._wake.set()

    # Missing deliveries.

    async def _begin(self) -> None:
        await self._look_behind()
        self._new_prefetch(sort=False)
        if self._order.guard.up:
            self._resolve_gaps()

    async def _look_behind(self) -> None:
        """See what is under way from before; with nothing the guard comes down."""
        await self._new_resolver().look_once()

    def _asks(self) -> Callable[[], Awaitable[ConsumerState]]:
        """What asks the server where the durable stands; must not hold this consumer."""
        return partial(consumer_state, self._client, self._stream, self.durable)

    def _new_resolver(self) -> GapResolver[Event[T]]:
        made = self._resolver = GapResolver(
            self._order.guard,
            self.durable,
            state=partial(_state, weakref.ref(self), self.durable, self._asks()),
            here=self._order.here,
            ack_again=partial(_ack_again, self._client, self._order),
            patience=2 * self._ack_wait + self.policy.cap + 1,  # its ack wait, or a delay, is over then
            expected=self._pinned,
        )
        if self._unhook is None:
            self._unhook = self._client.connection.on_break(weakly(self._broke))
        return made

    def _make_room(self, prefetch: Prefetch, state: ConsumerState | None = None) -> None:  # noqa: ARG002 - see below
        """However much newer is held, what is missing must get in; ``state`` is what the server has said, if it has."""
        prefetch.make_room(MAX_ACK_PENDING)

    async def take_in(self, state: ConsumerState) -> None:
        """Hold what has arrived, however long the handlers are at work: it is not missing."""
        taken = 0
        while self._order.guard.up and self._prefetch is not None and (msg := self._prefetch.take()) is not None:
            if (event := await self._admit(WireMsg(*msg))) is not None:
                await self._hold(event)
            taken += 1
            if not taken % _TURN:
                await asyncio.sleep(0)
        if self._prefetch is not None and self._order.guard.up:
            self._make_room(self._prefetch, state)

    def _broke(self) -> None:
        """The connection broke: what was on its way is lost."""
        if self._resolver is not None and not self._stopping:
            self._order.guard.doubt()
            self._resolver.be_patient()
            self._resolve_gaps()

    def _resolve_gaps(self) -> None:
        """The guard is up: see to it that it comes down."""
        if self._prefetch is None or self._resolver is None:
            return
        if self._resolving is not None and not self._resolving.done():
            return
        self._make_room(self._prefetch)
        work = _resolve(weakref.ref(self), self._resolver)
        self._resolving = asyncio.create_task(work, name=f"order {self.durable}")
        self._resolving.add_done_callback(weakly(self._was_resolved))

    def _was_resolved(self, resolving: "asyncio.Task[None]") -> None:
        self._wake.set()
        ended_well = not resolving.cancelled() and resolving.exception() is None
        if ended_well and self._order.guard.up and not self._stopping and not self._client.is_closed:
            self._resolve_gaps()  # another doubt came while what was held was handed out

    async def go_on(self, held: list[Event[T]]) -> None:
        """Nothing is missing any more: ``held`` is handed out, in order."""
        if self._prefetch is None:
            return
        for event in self._order.guard.take_forgotten():
            self._settler.forget(event.reply)
        for event in held:
            if await self._enter(event):
                self._order.add(event)
        self._prefetch.make_room(0)

    def _stop_resolving(self) -> None:
        if self._resolving is not None:
            self._resolving.cancel()
        if self._unhook is not None:
            self._unhook()


# A consumer that nobody refers to any more is not kept alive by what it waits for.


async def _resolve(reader: "weakref.ref[OrderedConsumer[T]]", resolver: GapResolver[Event[T]]) -> None:
    """Wait until nothing is missing."""
    held = await resolver.look()
    if (consumer := reader()) is not None:
        await consumer.go_on(held)


async def _state(
    reader: "weakref.ref[OrderedConsumer[Any]]", durable: str, ask: Callable[[], Awaitable[ConsumerState]]
) -> ConsumerState:
    """Where the durable stands, once what has arrived is taken in.

    Raises:
        BusClosed: nobody reads any more.
    """
    state = await ask()
    if (consumer := reader()) is None:
        raise BusClosed(f"nobody refers to the reader of {durable!r} any more")
    await consumer.take_in(state)
    return state


async def _ack_again(client: BusClient, order: KeyOrder[Any], state: ConsumerState) -> None:
    """Send the acks that may have been lost, so that what was done here need not come again."""
    connection = client.connection
    for reply in order.acks(state):
        try:
            if connection.ack(reply):
                await connection.writable()
        except BusError as error:
            log.debug("acks are not sent again; what was done comes again", error=str(error))
            return
