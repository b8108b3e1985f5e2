"""What a consumer takes in: pulled from one durable, kept from redelivery while it is here, given back when idle.

Guarantees:

- At most ``window`` messages are asked for, waiting or being handled at a time; more when :meth:`make_room` says so.
- A reader that takes over what another one gave back hands it out in the stream's order (``start_hold.py``); it waits
  for that for a second at most.
- The server's clock is restarted for everything held here, three times within each ``ack_wait``; when nobody has been
  reading for that long, what waits goes back to the server at once, in order.
- A durable that was deleted is an error, never silence; everything else that happens to a pull is logged and healed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Protocol

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.connection.connection import Connection
from mts1b_platform.eventbus.consuming.pulls import PullEvent, PullEventKind, PullSubscription
from mts1b_platform.eventbus.consuming.start_hold import StartHold
from mts1b_platform.eventbus.errors import AccessDenied, BusClosed, BusError, ConsumerGone, JetStreamUnavailable
from mts1b_platform.eventbus.jetstream.api import ApiError
from mts1b_platform.eventbus.jetstream.consumer_state import consumer_state, gone
from mts1b_platform.eventbus.jetstream.durables import durable_exists
from mts1b_platform.eventbus.protocol.acks import nak_frame, progress_frame
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.eventbus.protocol.position import MessageKey, NotJetStream, Position
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

_QUIET: Final = frozenset({PullEventKind.RECONNECTED})
_HOLD: Final = 1.0
"""Most seconds for which what arrives is held at the start, until what was under way before is here."""
_STEPS: Final = 16
"""Looks at what is open while a whole prefetch is settled; a reader that waits looks as well."""


class Pulls(Protocol):
    """What makes a :class:`PullSubscription`, or one of its kind."""

    def __call__(
        self,
        connection: Connection,
        stream: str,
        durable: str,
        /,
        *,
        window: int,
        on_messages: Callable[[list[RawMsg]], None],
        on_event: Callable[[PullEvent], None],
    ) -> PullSubscription:
        """Begin to pull."""
        ...


def _nothing() -> None:
    """What there is to do, or to undo, in most cases."""


class Prefetch:
    """The messages of one durable, as they come off the wire. Belongs to one consumer.

    Args:
        client: the connection.
        stream: name of the stream.
        durable: name of its consumer, which exists.
        window: most messages that are asked for, wait or are being handled.
        ack_wait: the durable's ack wait, in seconds.
        sort: hand out what was under way before in the stream's order.
        wake: called when there is something new to take, or a failure.
        pulls: makes what pulls.
        idle: called when it has stopped by itself because nobody read.
    """

    # what is counted for every event has a slot, where the compiled core finds it
    __slots__ = ("__dict__", "__weakref__", "_settled")

    def __init__(
        self,
        client: BusClient,
        stream: str,
        durable: str,
        *,
        window: int,
        ack_wait: float,
        sort: bool,
        wake: Callable[[], None],
        pulls: Pulls = PullSubscription,
        idle: Callable[[], None] = _nothing,
    ) -> None:
        self._client, self._stream, self._durable = client, stream, durable
        self._limit = window
        self._ack_wait = ack_wait
        self._wake = wake
        self._make_pulls = pulls
        self._on_idle = idle
        self._sort = sort
        self._hold: StartHold | None = None
        self._release: asyncio.TimerHandle | None = None
        self._settled = 0
        self._step = max(1, window // _STEPS)
        """Settled messages after which to see whether to ask for more."""
        self.queue: deque[RawMsg] = deque()
        """Messages that wait to be taken; empty when nothing is pulled."""
        self.handled: dict[bytes, RawMsg] = {}
        """Messages that were taken and are not settled, by reply subject; who takes one off the queue puts it here."""
        self._pulls: PullSubscription | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._checks: set[asyncio.Task[None]] = set()
        self._readers = 0
        self._room = 0
        self._idle_since = 0.0
        self._undeny: Callable[[], None] = _nothing
        self.owner: object = None
        """Whose end ends this; kept here for as long as this runs."""
        self.failure: BusError | None = None
        """Why no more messages will come, if so."""

    @property
    def running(self) -> bool:
        """Whether it pulls."""
        return self._pulls is not None

    @property
    def pull_size(self) -> int:
        """How many messages are asked for at a time; with less room there is none."""
        return self._pulls.size if self._pulls is not None else 0

    def reading(self, change: int) -> None:
        """So many readers more (or fewer) wait for a message."""
        self._readers += change
        self._idle_since = asyncio.get_running_loop().time()
        if change > 0:
            self._count()

    def make_room(self, room: int) -> None:
        """Take in up to ``room`` messages beyond the window, because something older is to come."""
        self._room = room
        self._count()

    async def start(self) -> None:
        """Begin to pull; does nothing when it has begun."""
        if self._pulls is not None:
            return
        self._idle_since = asyncio.get_running_loop().time()
        self._undeny()
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        self._undeny = self._client.denials.on("publish", pull, self._fail)
        if self._sort:
            await self._hold_what_was_under_way()
        self._pulls = self._make_pulls(
            self._client.connection,
            self._stream,
            self._durable,
            window=self._limit,
            on_messages=self._put,
            on_event=self._on_pull_event,
        )
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"keep {self._durable}")

    def take(self) -> RawMsg | None:
        """The next message, which counts as handled from now on until :meth:`settled`; None when none waits."""
        if not self.queue:
            return None
        msg = self.queue.popleft()
        self.handled[msg[1]] = msg
        return msg

    def holds(self, key: MessageKey, reply: bytes) -> bool:
        """Whether an earlier delivery of the message ``key`` than that with ``reply`` is being handled."""
        moment = b".%d." % key[1]
        return any(moment in held and held != reply and Position.of(held).key == key for held in self.handled)

    def settled(self, reply: bytes) -> None:
        """The server was answered for the message with this reply subject, or somebody else will answer it."""
        if self.handled.pop(reply, None) is not None:
            self._settled += 1
            if self._settled >= self._step:
                self._settled = 0
                self._count()

    async def stop(self) -> None:
        """Ask for nothing more and give back what waits; messages being handled are kept until they are settled."""
        pulls, self._pulls = self._pulls, None
        self._end_hold()
        rest = list(self.queue)
        self.queue.clear()
        try:
            if pulls is not None:
                rest += await pulls.stop()
            for msg in rest:
                self._client.connection.send(nak_frame(msg[1]))
        except BusError as error:
            log.debug("what waited is not given back; it comes again by itself", error=str(error))

    def drop(self) -> None:
        """Forget what waits, without a word to the server; what is handled is kept."""
        self._end_hold()
        self.queue.clear()
        self._count()

    def waiting(self) -> Iterator[MessageKey]:
        """The messages that wait."""
        for msg in self.queue:
            with suppress(NotJetStream):
                yield Position.of(msg[1]).key

    def close(self) -> None:
        """End for good, without a word to the server."""
        self._undeny()
        self._end_hold()
        self.queue.clear()
        for task in (self._keeper, *self._checks):
            if task is not None:
                task.cancel()
        self._keeper = None

    def _put(self, batch: list[RawMsg]) -> None:
        """Take what one read has brought."""
        if self._hold is None:
            self.queue.extend(batch)
        else:
            self._hold.add(batch)
            if not self._hold.complete:
                return
            self._end_hold()
        self._count()
        self._wake()

    async def _hold_what_was_under_way(self) -> None:
        """Hold what comes when a reader before this one left something under way."""
        try:
            state = await consumer_state(self._client, self._stream, self._durable)
        except (ApiError, JetStreamUnavailable, AccessDenied) as error:
            log.debug("what was under way is not known", durable=self._durable, error=str(error))
            return
        if state.pending:
            self._hold = StartHold(state)
            self._room = state.pending
            self._release = asyncio.get_running_loop().call_later(_HOLD, self._end_hold)

    def _end_hold(self) -> None:
        """Let what was held be handed out."""
        hold, self._hold = self._hold, None
        if self._release is not None:
            self._release.cancel()
        if hold is not None:
            self._room = 0
            self.queue.extend(hold.release())
            self._count()
            self._wake()

    def _count(self) -> None:
        if self._pulls is not None:
            self._pulls.reserve(max(0, len(self.queue) + len(self.handled) - self._room))

    def _fail(self, error: BusError) -> None:
        self.failure = self.failure or error
        self._wake()

    def _name(self) -> str:
        return f"durable {self._durable!r} on {self._stream}"

    def _on_pull_event(self, event: PullEvent) -> None:
        level = log.debug if event.kind in _QUIET else log.warning
        level("pull", durable=self._durable, stream=self._stream, what=event.kind.value, server=event.description)
        if event.kind is PullEventKind.CONSUMER_DELETED:
            self._fail(gone(self._stream, self._durable))
        elif event.kind is PullEventKind.REFUSED:
            self._fail(
                ConsumerGone(f"{self._name()}: {event.description}; it is no pull consumer that this bus can read")
            )
        elif event.kind in (PullEventKind.NO_RESPONDERS, PullEventKind.HEARTBEAT_MISSED):
            if event.kind is PullEventKind.NO_RESPONDERS:
                self._client.connection.unanswered(f"pulls of {self._name()}")
            check = asyncio.get_running_loop().create_task(self._check_it_exists())
            self._checks.add(check)
            check.add_done_callback(self._checks.discard)

    async def _check_it_exists(self) -> None:
        try:
            if not await durable_exists(self._client, self._stream, self._durable):
                self._fail(gone(self._stream, self._durable))
        except AccessDenied as denied:
            self._fail(denied)
        except (JetStreamUnavailable, ApiError, BusClosed) as error:
            log.debug("nobody can say whether the durable exists", durable=self._durable, error=str(error))

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            idle = not self.handled and not self._readers and loop.time() - self._idle_since > self._ack_wait / 3
            if idle and self._pulls is not None:
                await self.stop()
                self._on_idle()
                continue
            held = [*self.handled.values(), *self.queue]
            try:
                for msg in held:
                    self._client.connection.send(progress_frame(msg[1]))
            except BusError as error:
                log.debug("the server's clock is not restarted", durable=self._durable, error=str(error))
