"""Hot standby: started as often as you like, one instance is handed events, another takes over when it ends.

Guarantees, beside those of ``ordering/ordered.py``:

- The order of each key holds over takeovers: an heir waits until all that the instance before held is here.
- An instance that ends gracefully hands over at once; one that dies, freezes or is cut off, ``takeover`` seconds later.
- A process that wakes from standing still begins no further event (``pin.py``); the one in its hands is its own.
- Nothing that an heir decides on is decided by the instance before: it may only acknowledge what it has done.

Not promised: that only one handles an event at an instant. While the durable's leader changes, or when a frozen process
wakes inside a handler, two may. ``event.term`` tells them apart: it is greater for the heir, and the SQL stores refuse
a transaction of a lesser one.
"""

import weakref
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, ClassVar

from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.consuming.changes import Active, Standby
from mts1b_platform.eventbus.consuming.consumer import GROUP
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.instances.pin import Pin
from mts1b_platform.eventbus.consuming.instances.pinned_pulls import PinnedPulls
from mts1b_platform.eventbus.consuming.instances.standby_settling import StandbySettler
from mts1b_platform.eventbus.consuming.instances.takeover import Takeover
from mts1b_platform.eventbus.consuming.ordering.ordered import OrderedConsumer
from mts1b_platform.eventbus.consuming.prefetch import Prefetch
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.jetstream.consumer_state import ConsumerState
from mts1b_platform.eventbus.weak import weakly


class StandbyConsumer(OrderedConsumer[T]):
    """One of several instances of a reader. Made by ``bus.consume(…, ordered_by=…, instances="standby")``."""

    _pinned: ClassVar[bool] = True

    def __init__(
        self,
        context: ConsumeContext,
        subjects: Sequence[DurableSubject[T]],
        durable: str,
        *,
        takeover: float | None,
        member: str,
        **options: Any,
    ) -> None:
        super().__init__(context, subjects, durable, **options)
        self._stated_takeover = takeover
        self._member = member
        self._pin: Pin | None = None

    @property
    def active(self) -> bool:
        """Whether this instance is handed events now."""
        return self._pin is not None and self._pin.holds

    def closed(self) -> None:
        """The connection is closed for good: nothing held here can be answered any more."""
        if self._pin is not None:
            self._pin.close()
        if self._standby.takeover is not None:
            self._standby.takeover.close()
        super().closed()

    async def __anext__(self) -> Event[T]:
        """The next event, of whichever instance is handed events.

        Raises:
            ConsumerGone: the durable was deleted.
            BusClosed: the bus was closed under the iteration.
        """
        while True:
            if self._pin is not None:
                self._pin.check()
            event = await super().__anext__()
            if self.hand_out(event):
                return event

    async def behind(self, event: Event[T], *, most: int = GROUP) -> Sequence[Event[T]]:
        """The events of its key that wait for ``event``; none once another instance may have taken over."""
        if self._pin is not None:
            self._pin.check()
        return await super().behind(event, most=most) if self.active else ()

    def hand_out(self, event: Event[T]) -> bool:
        """Whether ``event`` may be begun now; it is another instance's else."""
        if self._pin is not None and self._pin.holds:
            event.term = self._pin.term
            return True
        self._standby.abandon(event)
        return False

    async def give_back(self, event: Event[T]) -> None:
        """Nobody has begun to handle ``event``, which was handed out: it comes again."""
        await self._standby.give_back(event)

    # Taking in.

    def _new_settler(self) -> StandbySettler:
        made = self._standby = StandbySettler(
            self._context, self.durable, self.policy, weakly(self._released), self._order
        )
        return made

    async def _next(self) -> Event[T] | None:
        prefetch = await self._started()
        if self.active:
            return await super()._next()
        await self._wait_for_message(prefetch)
        return None

    async def _its_turn(self, event: Event[T]) -> Event[T] | None:
        if self._pin is not None:
            event.term = self._pin.term  # whether its effect is there may be looked up
        return await super()._its_turn(event)

    async def _begin(self) -> None:
        pin = self._pin = self._standby.pin = Pin(self._client, self._stream, self.durable, self._takeover)
        pin.listeners.append(weakly(self._pin_changed))
        pin.doubt = weakly(self._doubt)
        self._standby.takeover = Takeover(
            self._client,
            self._stream,
            self.durable,
            pin,
            self._member,
            here=partial(_here, weakref.ref(self)),
            began=weakly(self._began),
        )
        self._new_resolver()
        self._new_prefetch(sort=False, pulls=partial(PinnedPulls, pin=pin), idle=pin.give_back)
        self._resolve_gaps()

    def _asks(self) -> Callable[[], Awaitable[ConsumerState]]:
        assert self._standby.takeover is not None  # noqa: S101 - _begin() has made it
        return self._standby.takeover.state

    def _make_room(self, prefetch: Prefetch, state: ConsumerState | None = None) -> None:
        """What is missing is called back and comes before anything newer: room for that and a pull, and no more.

        With more, each takeover would find a greater window of messages to take over than the one before, until taking
        it over lasts longer than a place is kept.
        """
        if state is None:
            prefetch.make_room(0)
        else:
            prefetch.make_room(max(0, state.pending - self._window + prefetch.pull_size))

    # Taking over, and giving way.

    def _pin_changed(self) -> None:
        assert self._pin is not None  # noqa: S101 - it calls
        if self._pin.id:
            self._doubt()
        else:
            self._give_way(self._pin.why)

    def _doubt(self) -> None:
        """What is under way may be elsewhere: nothing new is handed out until the server was asked."""
        if self._stopping:
            return
        self._order.guard.doubt()
        if self._resolver is not None:
            self._resolver.be_patient()
        self._resolve_gaps()

    def _give_way(self, why: str) -> None:
        """What nobody has begun to handle here is another's."""
        for event in [*self._order.let_go(), *self._standby.pause.drop()]:
            self._standby.forget(event.reply)
        if self._prefetch is not None:
            self._order.given_up(self._prefetch.waiting())
            self._prefetch.drop()
        if isinstance(self.changes_feed.now, Active):
            self.changes_feed.announce(Standby(why))
        self._doubt()

    def _began(self) -> None:
        assert self._pin is not None  # noqa: S101 - it has begun
        for pattern in self.patterns:
            self._client.counters.takeovers[pattern] += 1
        self.changes_feed.announce(Active(self._pin.term))
        self._wake_up()

    def here(self) -> Collection[int]:
        """Sequences of what is in this process and not settled."""
        waiting = self._prefetch.waiting() if self._prefetch is not None else ()
        return {*self._order.present(), *(seq for seq, _ in waiting)}


def _here(reader: "weakref.ref[StandbyConsumer[Any]]") -> Collection[int]:
    return consumer.here() if (consumer := reader()) is not None else ()
