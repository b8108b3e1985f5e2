"""Writing what a query means to a file, oldest first: complete at the end, or not there at all."""

import asyncio
import contextlib
import heapq
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from time import monotonic
from typing import Final, Literal, Protocol

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.event import Event
from mts1b_foundation.subjects.algebra import overlaps
from mts1b_platform.eventbus.history.history import History
from mts1b_platform.eventbus.history.recorded import Recorded

from mts1b_operations.history.matching import matches, may_match, needles, patterns_of, split, subjects_of
from mts1b_operations.history.query import EVERYTHING, Query
from mts1b_operations.history.search import narrowest
from mts1b_operations.history.seen import Decoders, Seen

Format = Literal["parquet", "csv", "jsonl"]

_CHUNK: Final = 16_384
"""Events that are written at a time."""


class ExportError(Mts1bError):
    """Events cannot be exported as asked."""


class ExportStopped(ExportError):
    """Somebody stopped the export."""


class Sink(Protocol):
    """Where events are written."""

    def write(self, batch: Sequence[Recorded]) -> None:
        """Take the next events; called in a thread, one call at a time."""
        ...


class Forwards:
    """What a query means, oldest first, over several streams in the order of time.

    Args:
        histories: the streams.
        query: which events.
        decoders: what strict consumers make of a message.
        since_ns: nothing before this moment.
        until_ns: nothing after this moment.
    """

    def __init__(
        self,
        histories: Sequence[History],
        query: Query,
        decoders: Decoders,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> None:
        self._histories = histories
        self._about_subject, self._rest = split(query)
        self._meant_subjects: dict[bytes, bool] = {}
        self._needles = needles(self._rest)
        self._pattern = narrowest(patterns_of(query))
        self._decoders = decoders
        self._since, self._until = since_ns, until_ns
        self.of = 0
        """Messages between the two moments, as sequences count them."""
        self.read = 0
        """Messages that were read."""

    async def run(self) -> AsyncGenerator[list[Recorded], None]:
        """The events, in lists.

        Raises:
            BusError: a stream cannot be read.
        """
        readers = [self._one(history) for history in self._histories]
        if len(readers) == 1:
            async for batch in readers[0]:
                yield batch
            return
        try:
            async for batch in _merged(readers):
                yield batch
        finally:
            for reader in readers:
                await reader.aclose()

    async def _one(self, history: History) -> AsyncGenerator[list[Recorded], None]:
        extent = await history.between(self._since, self._until)
        low, high = extent
        self.of += extent.size
        reached = low - 1
        async for batch in history.batches(low, high, self._pattern):
            self.read += batch[-1].seq - reached
            reached = batch[-1].seq
            yield self._meant(batch)
        self.read += max(0, high - reached)

    def _meant(self, batch: list[Recorded]) -> list[Recorded]:
        meant, rest = self._meant_subjects, self._rest
        on_subject: list[Recorded] = []
        for recorded in batch:
            name = recorded.wire.subject
            if (wanted := meant.get(name)) is None:
                wanted = meant[name] = matches(self._about_subject, Seen(recorded, self._decoders))
            if wanted:
                on_subject.append(recorded)
        if rest == EVERYTHING:
            return on_subject
        return [
            recorded
            for recorded in on_subject
            if may_match(self._needles, recorded) and matches(rest, Seen(recorded, self._decoders))
        ]


async def _merged(readers: Sequence[AsyncGenerator[list[Recorded], None]]) -> AsyncGenerator[list[Recorded], None]:
    """The lists of several readers as one order of time; at most one list of each is in memory."""
    heads: list[tuple[int, int, int, list[Recorded]]] = []

    async def refill(number: int) -> None:
        async for batch in readers[number]:
            if batch:
                heapq.heappush(heads, (batch[0].time_ns, number, 0, batch))
                return

    for number in range(len(readers)):
        await refill(number)
    while heads:
        run: list[Recorded] = []
        _, number, at, batch = heapq.heappop(heads)
        bound = heads[0][0] if heads else None
        while at < len(batch) and (bound is None or batch[at].time_ns <= bound):
            run.append(batch[at])
            at += 1
        if at < len(batch):
            heapq.heappush(heads, (batch[at].time_ns, number, at, batch))
        else:
            await refill(number)
        yield run


def payload_of(query: Query, decoders: Decoders) -> type[Event]:
    """The one payload of everything that ``query`` may mean, as a table has one set of columns.

    Of several versions of one payload that is the newest; events of an older one have nothing in the columns that it
    does not know.

    Raises:
        ExportError: there are several, or none.
    """
    patterns = subjects_of(query)
    if not patterns:
        raise ExportError(
            "a table holds events of one payload: name a subject, such as subject:oms.orders.>; a .jsonl takes any"
        )
    found = {
        subject.payload: subject.pattern
        for subject in decoders.registry
        if all(any(overlaps(pattern, form) for form in subject.patterns) for pattern in patterns)
    }
    if len({payload.schema_name() for payload in found}) != 1:
        which = (
            "no registered subject"
            if not found
            else "events of several payloads: "
            + ", ".join(f"{payload.__name__} ({pattern})" for payload, pattern in found.items())
        )
        raise ExportError(f"the query means {which}; a table holds one payload: name one subject, or write .jsonl")
    return max(found, key=lambda payload: payload.schema_version)


async def export(
    source: Forwards, sink: Sink, *, stop: asyncio.Event, progress: Callable[[Forwards, int, float], object]
) -> int:
    """Write all that ``source`` gives to ``sink``; how many events that were.

    Raises:
        ExportStopped: it was stopped.
        BusError: a stream cannot be read.
    """
    begun, written = monotonic(), 0
    waiting: list[Recorded] = []
    async with _beside(sink) as write, contextlib.aclosing(source.run()) as batches:
        async for batch in batches:
            waiting += batch
            if len(waiting) >= _CHUNK:
                await write(waiting)
                written += len(waiting)
                waiting = []
            progress(source, written + len(waiting), monotonic() - begun)
            if stop.is_set():
                raise ExportStopped("stopped: nothing was written")
            await asyncio.sleep(0)
        if waiting:
            await write(waiting)
    return written + len(waiting)


@contextlib.asynccontextmanager
async def _beside(sink: Sink) -> AsyncGenerator[Callable[[list[Recorded]], Awaitable[None]]]:
    """Write to ``sink`` in a thread, a list at a time, while the next one is read; ends when all is written."""
    under_way: list[asyncio.Future[None]] = []

    async def write(batch: list[Recorded]) -> None:
        while under_way:
            await asyncio.wait(under_way)
            under_way.pop().result()
        under_way.append(asyncio.get_running_loop().run_in_executor(None, sink.write, batch))

    try:
        yield write
    finally:
        if under_way:
            await asyncio.wait(under_way)
    for last in under_way:
        last.result()
