"""Loading any number of events in order, such as a history, in atomic batches.

Guarantees: when :func:`ingest` returns, every event is stored, in order, each of them once within the stream's
duplicate window; memory is bounded whatever the number of events. A batch that the stream refuses, because it knows one
of its events already for example, is published one by one, which stores the rest of it or names the event that the
stream does not take. An error says how many events are stored for certain.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Final, Generic, NamedTuple

from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.errors import AlreadyStored, BatchRefused, PublishError, PublishUncertain
from mts1b_platform.eventbus.events.outgoing import Ack
from mts1b_platform.eventbus.events.trace import new_trace_id
from mts1b_platform.eventbus.publishing.batch import MAX_BATCH
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.eventbus.publishing.emit_many import emit_many
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.publish")

_CHUNK: Final = 4 * MAX_BATCH
"""Events that are held at a time: one batch is stored while the next is encoded."""
_WINDOW: Final = 1024


class Ingested(NamedTuple):
    """What a bulk load has stored."""

    stream: str
    events: int
    """Events stored by it or known from before."""


async def ingest(
    context: PublishContext,
    subject: DurableSubject[T],
    events: Iterable[T] | AsyncIterable[T],
    *,
    deadline: float,
) -> Ingested:
    """See :meth:`EventBus.ingest`."""
    load, hooks = _Load(context, subject, deadline), context.client.hooks
    failure: BaseException | None = None
    try:
        async for chunk in _chunks(events):
            await load.store(chunk)
    except BaseException as error:
        failure = error
        raise
    finally:
        if hooks is not None:
            hooks.loaded(subject, load.trace_id, load.stored, failure)
        del failure  # a frame that keeps the error that leaves it is a circle
    return Ingested(load.stream, load.stored)


class _Load(Generic[T]):
    """One bulk load; all of its events are of one trace."""

    def __init__(self, context: PublishContext, subject: DurableSubject[T], deadline: float) -> None:
        self._context, self._subject, self._deadline = context, subject, deadline
        self.trace_id = new_trace_id()
        self.stored = 0
        """Events that are stored for certain."""
        self.stream = ""

    async def store(self, events: list[T]) -> None:
        """Store ``events``; raises for the first that cannot be."""
        begun = self.stored
        try:
            while (done := self.stored - begun) < len(events):
                try:
                    await self._publish(events[done:], atomic=True)
                except BatchRefused as refused:
                    done = self.stored - begun
                    log.warning("a batch of a bulk load is published one by one", reason=str(refused))
                    window = _WINDOW if isinstance(refused, AlreadyStored) else 1
                    await self._publish(events[done : done + MAX_BATCH], window=window)
        except PublishUncertain as error:
            raise PublishUncertain(f"{error}. {self.stored} events are stored for certain") from None
        except PublishError as error:
            raise type(error)(f"{error}; the {self.stored} events before it are stored") from None

    async def _publish(self, events: list[T], *, atomic: bool = False, window: int = _WINDOW) -> None:
        acks: list[Ack] = []
        try:
            await emit_many(
                self._context,
                self._subject,
                events,
                atomic=atomic,
                trace_id=self.trace_id,
                window=window,
                deadline=self._deadline,
                acks=acks,
                each=False,
            )
        finally:
            self.stored += len(acks)
            if acks:
                self.stream = acks[-1].stream


async def _chunks(events: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[list[T]]:
    chunk: list[T] = []
    async for event in _each(events):
        chunk.append(event)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _each(events: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event
