"""Keeping the index: every stream is read from its position on, again and again.

The position lies in the file, in the transaction of the keys, and not on the server: nothing is indexed twice or left
out whenever this process is killed, a file that was deleted is made anew without asking an administrator, and an index
that does not run is no consumer that falls behind.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mts1b_platform.eventbus import AccessDenied, BusError, EventBus, NoStream
from mts1b_platform.eventbus.history.history import History, open_history
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.logs import get_logger

from mts1b_operations.history.seen import Decoders
from mts1b_operations.history.streams import known_streams
from mts1b_operations.index.keys import keys_of
from mts1b_operations.index.store import IndexStore, Mark

log = get_logger("mts1b.operations.index")

_CHUNK: Final = 10_000
"""Messages in one transaction."""
_LOOK: Final = 0.5
"""Seconds between two looks at the streams."""


@dataclass(slots=True)
class Indexed:
    """What was indexed so far by this process."""

    messages: int = 0
    keys: int = 0
    rebuilt: int = 0
    """Streams that were indexed anew, as they had been made again."""


class Feed:
    """Brings an index up to what the streams hold.

    Args:
        bus: the connection.
        store: the index, open for writing.
        decoders: what tells the names of events.
    """

    def __init__(self, bus: EventBus, store: IndexStore, decoders: Decoders) -> None:
        self._bus = bus
        self._store = store
        self._decoders = decoders
        self._histories: dict[str, History] = {}
        self._marks: dict[str, Mark] = store.marks()
        self.indexed = Indexed()

    async def run(self, stop: asyncio.Event, told: Callable[[Indexed], object] = lambda _: None) -> None:
        """Keep the index until ``stop``. A server that is away is waited for.

        Raises:
            IndexFileError: the file cannot be written.
            BusClosed: the bus was closed.
        """
        while not stop.is_set():
            try:
                await self.catch_up(stop)
            except BusError as error:
                self._bus.refuse_when_closed()
                log.warning("the streams cannot be read; the index waits", error=str(error))
            told(self.indexed)
            try:
                async with asyncio.timeout(_LOOK):
                    await stop.wait()
            except TimeoutError:
                continue

    async def catch_up(self, stop: asyncio.Event | None = None) -> None:
        """Index what the streams hold now.

        Raises:
            IndexFileError: the file cannot be written.
            BusError: a stream cannot be read.
        """
        for name, subjects in sorted((await known_streams(self._bus)).items()):
            if stop is not None and stop.is_set():
                return
            if any(subject.startswith("mts.") for subject in subjects):
                try:
                    history = self._histories.get(name) or await open_history(self._bus, name)
                except (NoStream, AccessDenied) as error:
                    log.debug("not indexed", stream=name, reason=str(error))
                    continue
                self._histories[name] = history
                await self._stream(history, stop)

    async def _stream(self, history: History, stop: asyncio.Event | None) -> None:
        name = history.stream
        first, last = await history.extent()
        mark = self._marks.get(name, Mark(0, ""))
        if mark.position and not await still_holds(history, mark, last):
            log.warning("the stream was made again; it is indexed anew", stream=name)
            self.indexed.rebuilt += 1
            await asyncio.to_thread(self._store.forget, name)
            mark = Mark(0, "")
        if name in self._marks and first > 1:
            await asyncio.to_thread(self._store.forget, name, before=first)
        self._marks[name] = mark
        waiting: list[Recorded] = []
        async for batch in history.batches(max(first, mark.position + 1), last):
            waiting += batch
            if len(waiting) >= _CHUNK:
                await self._write(name, waiting)
                waiting = []
                if stop is not None and stop.is_set():
                    return
        if waiting:
            await self._write(name, waiting)

    async def _write(self, stream: str, batch: Sequence[Recorded]) -> None:
        rows = [(key, recorded.seq) for recorded in batch for key in keys_of(recorded, self._decoders)]
        mark = Mark(batch[-1].seq, batch[-1].stamp)
        await asyncio.to_thread(self._store.add, stream, rows, mark)
        self._marks[stream] = mark
        self.indexed.messages += len(batch)
        self.indexed.keys += len(rows)


async def still_holds(history: History, mark: Mark, last: int) -> bool:
    """Whether a stream is the one that was indexed up to ``mark``: the message there is the same, or gone by now."""
    if last < mark.position:
        return False
    found = await history.get(mark.position)
    return found is None or found.stamp == mark.stamp


async def valid_marks(histories: Mapping[str, History], store: IndexStore) -> dict[str, int]:
    """Up to which sequence each stream is indexed; 0 for one that is not, or was made again since."""
    return await confirmed(histories, store.marks())


async def confirmed(histories: Mapping[str, History], marks: Mapping[str, Mark]) -> dict[str, int]:
    """As :func:`valid_marks`, of the marks of an index that lies elsewhere."""

    async def position(name: str, history: History) -> int:
        mark = marks.get(name)
        if mark is None or not mark.position:
            return 0
        return mark.position if await still_holds(history, mark, (await history.extent()).last) else 0

    found = await asyncio.gather(*(position(name, history) for name, history in histories.items()))
    return dict(zip(histories, found, strict=True))
