"""Publishing what waits in memory: at once, in order, and without a wait between two events.

A relay waits for each ack before it lets the next stream have its events, so that a crash leaves no gap. What is in
memory does not outlive its process, so nothing is gained by that: the events of a commit leave in one write, with the
acknowledgement of the event that they follow from, and their acks are counted when they come. An event stays in the
outbox until its stream has it. What is refused, or has no ack, is left to a relay, which begins at the oldest event
that waits; each has its message id, so that the stream keeps one of it.
"""

import asyncio
from itertools import islice
from typing import Any, NamedTuple

from mts1b_platform.eventbus.bus import EventBus
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.events.outgoing import Ack, Draft, Outgoing
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.outbox.memory import MemoryOutbox, Waiting
from mts1b_platform.eventbus.outbox.relay import Relay, RelayCounters
from mts1b_platform.eventbus.protocol.puback import PubAck, PublishFailed
from mts1b_platform.eventbus.publishing.durable import count_stored
from mts1b_platform.eventbus.publishing.prepare import draft_for, draft_of, prepare
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.outbox")

_PAUSE = 0.05


class _Watched(NamedTuple):
    """An event that hooks watch."""

    hooks: Hooks
    mark: Any
    out: Outgoing


class Sender:
    """Publishes what waits in ``outbox``, in its order, until it is stopped. Used as a ``Relay`` is."""

    def __init__(self, bus: EventBus, outbox: MemoryOutbox) -> None:
        self.counters = RelayCounters()
        self._bus = bus
        self._outbox = outbox
        self._under_way: dict[int, tuple[Waiting, _Watched | None]] = {}
        """By token: the first ones of the events that wait."""
        self._running = False
        self._trouble: BaseException | None = None
        self._changed = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Publish what was added."""
        if self._running and self._trouble is None:
            self._send()

    def stop(self) -> None:
        """Return from :meth:`run`."""
        self._stopping = True
        self._changed.set()

    async def run(self) -> None:
        """Publish until :meth:`stop`.

        Raises:
            BusClosed: the bus was closed under it.
        """
        self._running = True
        self.wake()
        while not self._stopping:
            if self._trouble is not None and not self._under_way:
                await self._begin_again()
            self._changed.clear()
            await self._changed.wait()
        self._running = False

    def _send(self) -> None:
        new = list(islice(self._outbox.waiting, len(self._under_way), None))
        ready: list[tuple[Draft, _Watched | None]] = []
        try:
            for waiting in new:
                ready.append(self._ready(waiting))  # noqa: PERF401 - those before one that fails are known
            tokens = self._bus.publishing.pipeline.publish_telling(self, [draft for draft, _ in ready])
        except BusError as error:
            for _, watched in ready:
                if watched is not None:
                    watched.hooks.published(watched.mark, watched.out, None, error)
            self._doubt(error)
            return
        for token, waiting, (_, watched) in zip(tokens, new, ready, strict=True):
            self._under_way[token] = waiting, watched

    def _ready(self, waiting: Waiting) -> tuple[Draft, _Watched | None]:
        context, hooks, subject = self._bus.publishing, self._bus.hooks, waiting.subject
        if hooks is None:
            return draft_for(context, subject, waiting.event, waiting.trace_id, waiting.msg_id), None
        out = prepare(context, subject, waiting.event, msg_id=waiting.msg_id, trace_id=waiting.trace_id)
        mark = hooks.publishing(subject, waiting.event, out, None)
        return draft_of(context, subject, out), _Watched(hooks, mark, out)

    def acked(self, token: int, ack: PubAck) -> None:
        """A stream has it."""
        waiting, watched = self._under_way.pop(token)
        count_stored(self._bus.publishing, waiting.subject.pattern, ack)
        if watched is not None:
            out = watched.out
            stored = Ack(ack.stream, ack.seq, ack.duplicate, out.subject, out.msg_id)
            watched.hooks.published(watched.mark, out, stored, None)
        self._outbox.published(waiting.number)
        self.counters.published += 1
        self.counters.duplicates += ack.duplicate
        if self._trouble is not None:
            self._changed.set()

    def failed(self, token: int, error: PublishFailed) -> None:
        """It has no ack."""
        _, watched = self._under_way.pop(token)
        if watched is not None:
            watched.hooks.published(watched.mark, watched.out, None, error)
        self._doubt(error)

    def _doubt(self, error: BaseException) -> None:
        """Nothing more is sent before what is under way is answered, and what waits then is published one by one."""
        if self._trouble is None:
            log.warning("an event has no ack; what waits goes one by one", error=str(error))
        self._trouble = error
        self._changed.set()

    async def _begin_again(self) -> None:
        """Publish what waits by a relay: it knows what to do about every kind of error."""
        while self._outbox.waiting and not self._stopping:
            relay = Relay(self._bus, self._outbox)
            relay.stop()  # it returns when nothing waits, or nobody answers
            await relay.run()
            self.counters.published += relay.counters.published
            self.counters.duplicates += relay.counters.duplicates
            self.counters.refused += relay.counters.refused
            self.counters.parked += relay.counters.parked
            if self._outbox.waiting:
                await asyncio.sleep(_PAUSE)
        self._trouble = None
