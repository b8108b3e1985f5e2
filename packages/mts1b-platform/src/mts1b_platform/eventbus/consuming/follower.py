"""Following a stream in its order, without acknowledging: for whoever keeps nothing that outlives its process.

Each event is given to a plain function from the connection's reader: no turn of the event loop and no answer to the
server lies between two events. Where the reading is, is known here alone.

Guarantees:

- Every event once and in the stream's order, from where the following began. Deliveries are numbered: when one is
  missing, the connection broke or the consumer is gone, it is made again behind the last event that came.
- An event whose function raises ends the following with that error. Nothing comes a second time.
- A message that is no event is stored as a dead letter, and passed over.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, Literal

from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.arguments import check_consume
from mts1b_platform.eventbus.codec.decoder import Refused
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.deadletters import store_dead_letter
from mts1b_platform.eventbus.consuming.pulls import PullEvent, PullEventKind, PullSubscription
from mts1b_platform.eventbus.errors import (
    AlreadyDone,
    BusClosed,
    BusError,
    ConsumeError,
    InvalidArgument,
    JetStreamUnavailable,
)
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.hooks import of_handlers
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.durables import stream_of
from mts1b_platform.eventbus.jetstream.unacknowledged import make_unacknowledged
from mts1b_platform.eventbus.protocol.envelope import ONLY_DURABLE
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg
from mts1b_platform.eventbus.protocol.position import NotJetStream, Position
from mts1b_platform.handling import handled
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.follower")

_ONLY: Final = ONLY_DURABLE.lower().encode()
_LOOK: Final = 0.02
_PAUSE: Final = 0.2
_BROKEN: Final = frozenset({PullEventKind.RECONNECTED, PullEventKind.CONSUMER_DELETED, PullEventKind.NO_RESPONDERS})
"""After these something may be lost that was delivered."""

Handle = Callable[[Event[T]], Awaitable[None] | None]
"""What is given each event. It returns None, or what has to be waited for before the next event."""


class Follower(Generic[T]):
    """The events of some subjects of one stream, given to a function in their order. Made by ``bus.follow``.

    What comes between :meth:`start` and :meth:`run` waits here, as far as the window reaches.
    """

    def __init__(
        self,
        context: ConsumeContext,
        subjects: Sequence[DurableSubject[T]],
        name: str,
        handle: Handle[T],
        *,
        deliver: Literal["all", "new"],
        window: int,
        inactive_threshold: float,
    ) -> None:
        self._filters = check_consume(
            subjects, name, deliver=deliver, prefetch=window, inactive_threshold=inactive_threshold
        )
        self.name = name
        self._context = context
        self._client = context.client
        self._subjects = subjects
        self._decode = context.decoder(subjects).decode
        self._handle = handle
        self._begin: Literal["all", "new"] | int = deliver
        self._window = window
        self._inactive_threshold = inactive_threshold
        self._stream = ""
        self._settler = _Unacknowledged(context)
        self._queue: deque[tuple[RawMsg, Position]] = deque()
        self._pulls: PullSubscription | None = None
        self._came = 0
        """Deliveries of the present consumer that came."""
        self._running = False
        self._awaited: asyncio.Task[None] | None = None
        """What the event that was handed out last has to wait for."""
        self._making: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._stopped = False
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Follower {self.name!r} of {', '.join(self._filters)}>"

    @property
    def patterns(self) -> tuple[str, ...]:
        """The registered patterns that are read."""
        return tuple(subject.pattern for subject in self._subjects)

    @property
    def stream(self) -> str:
        """The stream that is read; empty until the follower has started."""
        return self._stream

    @property
    def waiting(self) -> int:
        """How many events wait here."""
        return len(self._queue)

    @property
    def open(self) -> int:
        """How many events are being handled: one, or none."""
        return int(self._awaited is not None)

    @property
    def done(self) -> int:
        """How many deliveries of the consumer, as the server counts them, are handled."""
        return self._came - len(self._queue) - self.open

    async def start(self) -> None:
        """Begin to read; nothing is handed out before :meth:`run`.

        Raises:
            NoStream: the stream does not exist.
            JetStreamUnavailable: JetStream does not answer.
        """
        if self._pulls is None:
            self._stream = await stream_of(self._client, self._subjects)
            self._context.remember(self)
            await self._make()

    async def run(self) -> None:
        """Hand out every event until :meth:`stop`.

        Raises:
            BusClosed: the bus was closed under it.
            Exception: what the function has raised, or what keeps the reading from going on.
        """
        await self.start()
        self._running = True
        self._work_off()
        while self._failure is None and not self._stopped:
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure

    async def caught_up(self) -> None:
        """Wait until everything is handled that the stream holds.

        Raises:
            ApiError: the server refuses to say.
            JetStreamUnavailable: JetStream does not answer.
        """
        while self._failure is None and not self._stopped:
            info = await js_api(self._client, f"CONSUMER.INFO.{self._stream}.{self.name}")
            if not info["num_pending"] and self.done == info["delivered"]["consumer_seq"]:
                return
            await asyncio.sleep(_LOOK)

    async def stop(self) -> None:
        """Hand out nothing more; what is being handled is waited for."""
        self._stopped, self._running = True, False
        if self._making is not None:
            self._making.cancel()
        if self._pulls is not None:
            await self._pulls.stop()
        if self._awaited is not None:
            await asyncio.wait((self._awaited,))
        self._context.forget(self)
        self._changed.set()

    def closed(self) -> None:
        """The connection is closed for good."""
        self._fail(self._client.ending or BusClosed(f"{self!r}: the bus was closed"))

    # Taking in.

    def _take(self, batch: list[RawMsg]) -> None:
        """Take what one read has brought."""
        for msg in batch:
            if self._making is not None:
                return  # the consumer is made again, behind what came before this
            try:
                position = Position.of(msg[1])
            except NotJetStream as error:
                log.warning("something other than an event came to the pulls", follower=self.name, error=str(error))
                continue
            if position.consumer_seq != self._came + 1:
                self._make_again(f"delivery {self._came + 1} is missing before {position.consumer_seq}")
                return
            self._came += 1
            self._begin = position.seq + 1
            self._queue.append((msg, position))
            self._work_off()
        if self._pulls is not None:
            self._pulls.reserve(len(self._queue))

    def _on_pull_event(self, event: PullEvent) -> None:
        if event.kind in _BROKEN:
            self._make_again(event.description)
        else:
            log.warning("pull", follower=self.name, stream=self._stream, what=event.kind, server=event.description)
        if event.kind is PullEventKind.REFUSED:
            self._fail(ConsumeError(f"{self!r} on {self._stream}: {event.description}"))

    async def _make(self) -> None:
        last = await make_unacknowledged(
            self._client,
            stream=self._stream,
            name=self.name,
            filters=self._filters,
            begin=self._begin,
            inactive_threshold=self._inactive_threshold,
            service=self._client.settings.service,
        )
        self._begin = max(last + 1, self._begin) if isinstance(self._begin, int) else last + 1
        self._came = 0
        self._pulls = PullSubscription(
            self._client.connection,
            self._stream,
            self.name,
            on_messages=self._take,
            on_event=self._on_pull_event,
            window=self._window,
        )

    def _make_again(self, why: str) -> None:
        if self._making is None and not self._stopped and self._failure is None:
            log.warning("followed again from the last event that came", follower=self.name, reason=why)
            self._making = asyncio.create_task(self._remake(), name=f"follow {self.name}")

    async def _remake(self) -> None:
        try:
            while True:
                pulls, self._pulls = self._pulls, None
                try:
                    if pulls is not None:
                        await pulls.stop()
                    await self._make()
                except JetStreamUnavailable as error:
                    log.warning("nobody answers; asked again", follower=self.name, error=str(error))
                    await asyncio.sleep(_PAUSE)
                else:
                    break
        except BusError as error:
            self._fail(error)
        finally:
            self._making = None

    # Handing out.

    def _work_off(self) -> None:
        """Hand out what waits, until one of them has to be waited for."""
        while self._queue and self._running and self._awaited is None:
            msg, position = self._queue.popleft()
            try:
                event = self._event(msg, position)
            except Refused as refused:
                self._wait_for(None, self._refuse(WireMsg(*msg), position, refused))
                return
            if event is not None:
                self._hand_out(event)

    def _event(self, msg: RawMsg, position: Position) -> Event[T] | None:
        """The typed event; None for one that was requeued for another reader, which had failed with it."""
        registered, name, payload, plain = self._decode(msg)
        if not plain and _ONLY in msg[2].lower():
            try:
                if WireMsg(*msg).headers.get(ONLY_DURABLE, self.name) != self.name:
                    return None
            except HeaderError as error:
                raise Refused(DeadLetterReason.SCHEMA_MISMATCH, str(error), registered.pattern) from error
        return Event(registered, name, msg, payload, self._settler, of_handlers(self._client.hooks), position)

    def _hand_out(self, event: Event[T]) -> None:
        watched = self._client.hooks is not None
        if watched:
            event.received_at = time.time()
        token = handled.set(event)
        try:
            waiting = self._handle(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - it ends the following, whatever it is
            self._settled(event, error)
        else:
            if waiting is None:
                self._settled(event, None)
            else:
                self._wait_for(event, waiting)
        finally:
            handled.reset(token)

    def _wait_for(self, event: Event[T] | None, waiting: Awaitable[None]) -> None:
        async def wait() -> None:
            failure: BaseException | None = None
            try:
                await waiting
            except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
                raise
            except BaseException as error:  # noqa: BLE001 - it ends the following, whatever it is
                failure = error
            self._awaited = None
            self._settled(event, failure)
            self._work_off()

        self._awaited = asyncio.create_task(wait(), name=f"handle {self.name}")

    def _settled(self, event: Event[T] | None, error: BaseException | None) -> None:
        """``event`` is handled, or ``error`` says why not."""
        counters = self._client.counters
        if isinstance(error, AlreadyDone) and event is not None:
            counters.deduplicated[event.registered.pattern] += 1
        elif error is not None:
            self._fail(error)
            return
        if event is not None:
            event.settled = True
            counters.consumed[event.registered.pattern] += 1
            if (hooks := self._client.hooks) is not None:
                hooks.settled(event)

    async def _refuse(self, msg: WireMsg, position: Position, refused: Refused) -> None:
        self._client.counters.schema_mismatch[refused.pattern] += 1
        await store_dead_letter(
            self._context.publishing,
            msg=msg,
            pattern=refused.pattern,
            position=position,
            reason=refused.reason,
            error=str(refused),
        )

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._running = False
        self._changed.set()


class _Unacknowledged:
    """What an event asks of its reader, where nothing is acknowledged. Implements ``Settler``."""

    def __init__(self, context: ConsumeContext) -> None:
        self._context = context

    def acked(self, event: Event[Any]) -> bool:
        event.settled = True
        return False

    async def room(self) -> None:
        pass

    async def nak(self, event: Event[Any], delay: float | None) -> None:
        del delay
        raise InvalidArgument(f"{event!r} was followed: it does not come again")

    async def failed(self, event: Event[Any], error: BaseException) -> bool:
        del event, error
        return False

    async def reject(self, event: Event[Any], reason: str) -> None:
        await store_dead_letter(
            self._context.publishing,
            msg=event.wire,
            pattern=event.registered.pattern,
            position=event.position,
            reason=DeadLetterReason.REJECTED,
            error=reason,
        )
        event.settled = True

    async def in_progress(self, event: Event[Any]) -> None:
        pass
