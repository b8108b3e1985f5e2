"""Bulk loads through JetStream's fast ingest: the server stores as fast as it can and acknowledges now and then.

Guarantees: when :meth:`Load.run` returns, every event is stored, in order, each of them once within the stream's
duplicate window; memory is bounded whatever the number of events. What a broken connection, a restarted server or a
lost message leaves in doubt is sent again with the same message ids, from the first event that is not known to be
stored. An error says how many events are stored for certain.

What is given up against :func:`~mts1b_platform.eventbus.publish_many.send_pipelined` is the ack of each single event.

The protocol (nats-server 2.14 and later, streams with ``allow_batched``) lives in the reply subject of each message:
``<inbox>.<events between acks>.fail.<number in the batch>.<operation>.$FI``.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import nats.errors
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.api import where
from mts1b_platform.eventbus.errors import PublishError, PublishUncertain
from mts1b_platform.eventbus.lane import Batches, Lane
from mts1b_platform.eventbus.pipeline import Draft
from mts1b_platform.eventbus.puback import NoStreamResponse
from mts1b_platform.eventbus.publish import Outgoing, draft_of, prepare, reason_to_retry
from mts1b_platform.eventbus.wire import RawMsg, WireMsg, pub_frame
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

log = get_logger("mts1b.eventbus.publish")

_BETWEEN_ACKS: Final = 256
"""Events after which the server says how far it has come."""
_WINDOW: Final = 8 * _BETWEEN_ACKS
_SILENCE: Final = 2.0
"""Seconds without a word after which a batch is given up and what it has not stored is sent again."""
_PAUSE: Final = 0.1
_START, _ADD, _END = 0, 1, 3
_NUMBER: Final = -3
"""Where the number of an event stands among the tokens of an answer's subject."""
_DISABLED: Final = 10205
_UNKNOWN: Final = 10208
"""The server has forgotten the batch: it was restarted, or has ended the batch before."""


class Ingested(NamedTuple):
    """What a bulk load has stored."""

    stream: str
    events: int
    """Events stored by it or known from before."""


class _Stalled(Exception):
    """The batch is over before its time; what it has not stored is sent again."""


class _Batch:
    """One batch and its inbox."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._inbox = lane.new_inbox()
        self._reply = f"{self._inbox}.{_BETWEEN_ACKS}.fail.".encode()
        self._changed = asyncio.Event()
        self._batches: Batches | None = None
        self.sent = 0
        self.stored = 0
        """How many of its events the server has stored."""
        self.stream = ""
        """Set when the server has ended the batch."""
        self.refusal: dict[str, Any] | None = None
        self.no_stream = False
        self.broken = False
        self._told = 0

    async def __aenter__(self) -> Self:
        self._batches = await self._lane.subscribe_batches(f"{self._inbox}.>", callback=self._take)
        self._unhook = self._lane.on_break(self._break), self._lane.on_close(self._break)
        return self

    async def __aexit__(self, *_: object) -> None:
        for unhook in self._unhook:
            unhook()
        if self._batches is not None:
            try:
                await self._batches.unsubscribe()
            except nats.errors.Error as error:
                log.debug("unsubscribe", error=str(error))

    async def add(self, draft: Draft) -> None:
        """Send the next event."""
        if self._lane.crowded:
            try:
                async with asyncio.timeout(_SILENCE):
                    await self._lane.room()
            except TimeoutError:
                raise _Stalled("the server takes nothing any more") from None
        self.sent += 1
        reply = b"%b%d.%d.$FI" % (self._reply, self.sent, _START if self.sent == 1 else _ADD)
        frame = draft.template.encode(draft.payload, draft.trace_id, draft.msg_id, reply, draft.extra)
        self._lane.send(frame, len(draft.payload))

    async def end(self, subject: bytes) -> None:
        """Say that there are no more, and wait until all are stored."""
        self._lane.send(pub_frame(subject, b"", b"%b%d.%d.$FI" % (self._reply, self.sent + 1, _END)), 0)
        while not self.stream:
            await self.progress()

    async def progress(self) -> None:
        """Wait for a word of the server.

        Raises:
            _Stalled: it ended the batch early, refused it, or is silent.
        """
        self._changed.clear()
        if not self._over:
            try:
                async with asyncio.timeout(_SILENCE):
                    await self._changed.wait()
            except TimeoutError:
                raise _Stalled("the server is silent") from None
        if self._over and self.stored < self.sent:
            raise _Stalled(self._why())

    def news(self) -> int:
        """How many more of its events are stored than when this was asked last."""
        news, self._told = self.stored - self._told, self.stored
        return news

    @property
    def _over(self) -> bool:
        return bool(self.stream or self.refusal or self.no_stream or self.broken)

    def _why(self) -> str:
        if self.refusal is not None:
            return str(self.refusal.get("description", self.refusal))
        return "the connection broke" if self.broken else "the server ended the batch early"

    def _break(self) -> None:
        self.broken = True
        self._changed.set()

    def _take(self, batch: list[RawMsg]) -> None:
        for msg in (WireMsg(*raw) for raw in batch):
            if msg.is_status:
                self.no_stream = True
                continue
            try:
                self._hear(int(msg.subject.split(b".")[_NUMBER]), json.loads(msg.payload))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                log.warning("an answer that is none", payload=msg.payload[:120], error=str(error))
        self._changed.set()

    def _hear(self, number: int, said: dict[str, Any]) -> None:
        """What the server says of the event ``number``."""
        if error := said.get("error"):
            # Everything behind the event that ended a batch is refused as well, with a reason that says less.
            if self.refusal is None and error.get("err_code") != _UNKNOWN:
                self.stored = max(self.stored, number - 1)
            self.refusal = self.refusal or error
        elif said.get("type") == "ack":
            self.stored = max(self.stored, int(said["seq"]))
        elif "stream" in said:
            self.stored, self.stream = max(self.stored, int(said["count"])), str(said["stream"])


async def prepare_all(
    bus: "EventBus", subject: DurableSubject[T], events: Iterable[T] | AsyncIterable[T], trace_id: str
) -> AsyncIterator[Outgoing]:
    """Subject, bytes and envelope of each event as it is asked for; all of one trace."""
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield prepare(bus, subject, event, trace_id=trace_id)
    else:
        for event in events:
            yield prepare(bus, subject, event, trace_id=trace_id)


class Load:
    """The events of a bulk load: those still to come, and those sent that are not known to be stored."""

    def __init__(self, bus: "EventBus", subject: DurableSubject[Any], outs: AsyncIterator[Outgoing]) -> None:
        self._bus, self._subject, self._outs = bus, subject, outs
        self._unsure: deque[Outgoing] = deque()
        self.stored = 0
        """How many are stored for certain, after an error as well."""

    async def run(self, deadline: float) -> Ingested:
        """Store all of them. ``deadline``: seconds without any progress after which it gives up.

        Raises:
            PublishError: an event was refused, or the stream takes no fast ingest.
            PublishUncertain: no progress before the deadline.
            BusClosed: the bus was closed.
        """
        loop = asyncio.get_running_loop()
        stored, give_up_at = 0, loop.time() + deadline
        while True:
            try:
                if await self._bus.wait_connected(give_up_at - loop.time()):
                    return await self._attempt()
                reason = "no connection to a NATS server"
            except (_Stalled, nats.errors.Error) as stalled:
                reason = str(stalled) or type(stalled).__name__
            if self.stored > stored:
                stored, give_up_at = self.stored, loop.time() + deadline
            if loop.time() >= give_up_at:
                self._bus.counters.publish_failed[self._subject.pattern] += 1
                raise PublishUncertain(
                    f"{self._subject.pattern}: no progress of a bulk load within {deadline:g} s at {where(self._bus)} "
                    f"({reason}). {stored} events are stored for certain, a few behind them may be; starting again "
                    "with the same events is safe inside the stream's duplicate window"
                )
            self._bus.counters.publish_retries[self._subject.pattern] += 1
            log.warning("bulk load goes on", subject=self._subject.pattern, stored=stored, reason=reason)
            await asyncio.sleep(_PAUSE)

    async def _attempt(self) -> Ingested:
        """Send everything that is left as one batch, first what may have been lost.

        Raises:
            _Stalled: it came only so far.
            PublishError: it will come no further.
        """
        async with _Batch(self._bus.lane) as batch:
            try:
                for out in list(self._unsure):
                    await self._send(batch, out)
                async for out in self._outs:
                    self._unsure.append(out)
                    await self._send(batch, out)
                if self._unsure:
                    await batch.end(self._unsure[-1].subject.encode())
            except _Stalled:
                self._settle(batch)
                await self._explain(batch)
                raise
            self._settle(batch)
            return Ingested(batch.stream, self.stored)

    async def _send(self, batch: _Batch, out: Outgoing) -> None:
        await batch.add(draft_of(self._bus, self._subject, out))
        while batch.sent - batch.stored >= _WINDOW:
            await batch.progress()
        self._settle(batch)

    def _settle(self, batch: _Batch) -> None:
        news = batch.news()
        for _ in range(news):
            self._unsure.popleft()
        self.stored += news
        self._bus.counters.published[self._subject.pattern] += news

    async def _explain(self, batch: _Batch) -> None:
        """Raise when another attempt cannot help."""
        if not self._unsure:
            return
        out = self._unsure[0]
        if batch.no_stream:
            await reason_to_retry(self._bus, out, NoStreamResponse("no stream stores the subject"))
        code = 0 if batch.refusal is None else int(batch.refusal.get("err_code", 0))
        if code == _DISABLED:
            raise PublishError(
                f"{out.subject}: its stream takes no fast ingest ({self.stored} events are stored); bring it up to "
                "date with `mts1b streams apply`, or use emit_many()"
            )
        if batch.refusal is not None and code != _UNKNOWN:
            raise PublishError(
                f"{out.subject}: JetStream did not store the event {out.msg_id!r}, and nothing behind it: "
                f"{batch.refusal.get('description')} (error {code}); the {self.stored} events before it are stored"
            )
