"""Sharing the keys of one reader out over instances: each key is read by one instance at a time, in order.

Each key has a pinned durable of its own (``standby.py``), so nothing ever moves between durables, and what is promised
of one holds for each key. Which instance reads which keys follows from who is there (``members.py``, ``sharing.py``);
when somebody comes or goes only the keys that move stop for a moment.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Self

from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.consuming.changes import Change, Changes, Given, Taken
from mts1b_platform.eventbus.consuming.consumer import GROUP
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.instances.members import Members
from mts1b_platform.eventbus.consuming.instances.sharing import shares
from mts1b_platform.eventbus.consuming.instances.standby import StandbyConsumer
from mts1b_platform.eventbus.consuming.workers import work_off
from mts1b_platform.eventbus.errors import BusClosed, BusError, JetStreamUnavailable, ServerUnavailable, raise_first
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.events.once import DedupeStore
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")


class _Offer(Generic[T]):
    """An event that a reader has been handed, until somebody takes it."""

    def __init__(self, reader: StandbyConsumer[T], event: Event[T]) -> None:
        self.reader, self.event = reader, event
        self.taken = asyncio.Event()


class SharedConsumer(Generic[T]):
    """The events of the keys that this instance reads. Made by ``bus.consume(…, instances="share")``.

    An async iterator, as a ``Consumer`` is.

    Args:
        context: the bus.
        group: the name that the durables begin with.
        patterns: the registered patterns that are read.
        readers: makes the reader of a key; one for each key.
        members: makes what knows the other instances; told what to call when they change.
    """

    def __init__(
        self,
        context: ConsumeContext,
        group: str,
        *,
        patterns: tuple[str, ...],
        readers: Mapping[str, Callable[[], StandbyConsumer[T]]],
        members: Callable[[Callable[[], None]], Awaitable[Members]],
    ) -> None:
        self.durable = group
        self.patterns = patterns
        self._context = context
        self._make = readers
        self._make_members = members
        self._members: Members | None = None
        self._mine: dict[str, tuple[StandbyConsumer[T], asyncio.Task[None]]] = {}
        self._given: list[StandbyConsumer[T]] = []
        """Readers of keys that were given away; kept for as long as an event of theirs is with a handler."""
        self._offers: deque[_Offer[T]] = deque()
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._feed = Changes(Taken(frozenset()))
        self._managing: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._effects: DedupeStore[Any] | None = None
        self._stopping = False
        self._start_lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<SharedConsumer {self.durable!r} of {', '.join(self.patterns)}>"

    @property
    def keys(self) -> frozenset[str]:
        """The keys that this instance reads, or waits to be handed: another may still be at them."""
        return frozenset(self._mine)

    @property
    def active(self) -> bool:
        """Whether this instance is handed events of some key now."""
        return any(reader.active for reader, _ in self._mine.values())

    @property
    def has_started(self) -> bool:
        """Whether it knows its keys."""
        return self._managing is not None

    @property
    def store_away(self) -> str | None:
        """Why nothing is handed out, when a store that the handler needs is away."""
        return next((away for reader, _ in self._mine.values() if (away := reader.store_away) is not None), None)

    @property
    def open(self) -> int:
        """None: the readers of the keys count theirs."""
        return 0

    @property
    def waiting(self) -> int:
        """None: the readers of the keys count theirs."""
        return 0

    def changes(self) -> AsyncIterator[Change]:
        """``Taken`` with the keys that are read, then each change, ``Taken`` or ``Given``, until the consumer stops."""
        return self._feed.follow()

    async def start(self) -> None:
        """Find the other instances, and begin to read this one's share; iterating does it by itself.

        Raises:
            NoStream: the stream does not exist.
            AccessDenied: this identity may not hear the other instances, or not read a durable.
            ConsumerConflict: a durable exists and is another.
            JetStreamUnavailable: JetStream does not answer.
        """
        async with self._start_lock:
            if self._managing is not None or self._stopping:
                return
            members: Members | None = None
            try:
                members = self._members = await self._make_members(self._changed.set)
                await members.join()
                await self._settle(members)
            except BaseException as error:
                await self._withdraw(members)
                if self._stopping and isinstance(error, BusError):  # that nothing is there any more is no failure then
                    return
                raise
            if self._stopping:
                await self._withdraw(members)
                return
            self._managing = asyncio.create_task(self._manage(members), name=f"share {self.durable}")

    async def stop(self) -> None:
        """Read nothing more, and give all keys away; events that nobody has begun to handle go back at once."""
        self._stopping = True
        if self._managing is not None:
            self._managing.cancel()
        await self._withdraw(self._members)
        self._feed.end()
        self._wake.set()
        self._context.forget(self)

    def closed(self) -> None:
        """The connection is closed for good."""
        for task in (self._managing, *(pumping for _, pumping in self._mine.values())):
            if task is not None:
                task.cancel()
        if self._members is not None:
            self._members.close()
        self._failure = self._failure or self._context.client.ending or BusClosed(f"{self!r}: the bus was closed")
        self._feed.end()
        self._wake.set()

    async def run(
        self,
        handler: Callable[[Event[T]], Awaitable[None]] | Callable[[Event[T]], None],
        *,
        concurrency: int = 1,
        effects: DedupeStore[Any] | None = None,
    ) -> None:
        """Hand every event to ``handler``, as ``Consumer.run`` does: ``concurrency`` at a time over all keys."""
        self._effects = effects
        for reader, _ in self._mine.values():
            reader.look_up(effects)
        await work_off(
            self,
            handler,
            concurrency=concurrency,
            name=self.durable,
            stop=self.stop,
            unsettled=self._leave_unsettled,
        )

    async def behind(self, event: Event[T], *, most: int = GROUP) -> Sequence[Event[T]]:
        """The events of its key that wait for ``event``, as ``Consumer.behind`` names them; none of a key that left."""
        name = event.position.consumer
        reader = next((reader for reader, _ in self._mine.values() if reader.durable == name), None)
        return await reader.behind(event, most=most) if reader is not None else ()

    def _leave_unsettled(self, event: Event[T]) -> None:
        for reader, _ in self._mine.values():
            if reader.durable == event.position.consumer:
                reader.leave_unsettled(event)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event[T]:
        """The next event of any key. Several tasks may ask at a time.

        Raises:
            ConsumerGone: the durable of a key was deleted.
            BusClosed: the bus was closed under the iteration.
        """
        await self.start()
        while True:
            while self._offers:
                offer = self._offers.popleft()
                offer.taken.set()
                if offer.reader.hand_out(offer.event):
                    return offer.event
            if self._failure is not None and not self._stopping:
                raise self._failure
            if self._stopping:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    # Sharing.

    async def _manage(self, members: Members) -> None:
        """Follow who comes and goes."""
        while True:
            try:
                async with asyncio.timeout(members.beat):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                if self._failure is None:
                    await self._settle(members)
            except (JetStreamUnavailable, ServerUnavailable) as error:
                log.warning("keys are not taken yet", group=self.durable, error=str(error))
            except BusError as error:
                self._failure = error
            if self._failure is not None:
                self._wake.set()
                await self._withdraw(members)
                return

    async def _settle(self, members: Members) -> None:
        """Give away what is another's by now, and take what is ours."""
        owners = shares(self._make, await members.present())
        wanted = {key for key, owner in owners.items() if owner == members.name}
        await self._give(self.keys - wanted)
        missing = sorted(wanted - self.keys)
        ended = await asyncio.gather(*map(self._take, missing), return_exceptions=True)
        if taken := self.keys.intersection(missing):
            self._announce(Taken(taken))
        raise_first(ended)

    async def _withdraw(self, members: Members | None) -> None:
        """Leave all keys to the others; to them nobody is here any more."""
        if members is not None:
            members.leave()
        await self._give(self.keys)

    async def _take(self, key: str) -> None:
        reader = self._make[key]()
        reader.look_up(self._effects)
        self._context.remember(reader)
        try:
            await reader.start()
        except BaseException:
            await reader.stop()
            raise
        self._mine[key] = reader, asyncio.create_task(self._pump(reader), name=f"read {reader.durable}")

    async def _give(self, keys: frozenset[str]) -> None:
        given = [self._mine.pop(key) for key in sorted(keys)]
        self._given = [*(reader for reader in self._given if reader.open), *(reader for reader, _ in given)]
        for _, pumping in given:
            pumping.cancel()
        await asyncio.gather(*(reader.stop() for reader, _ in given))
        await asyncio.gather(*(pumping for _, pumping in given), return_exceptions=True)
        if keys:
            self._announce(Given(keys))

    def _announce(self, change: Taken | Given) -> None:
        log.info(
            "keys are taken" if isinstance(change, Taken) else "keys are given away",
            group=self.durable,
            keys=sorted(change.keys),
            of_all=sorted(self.keys),
        )
        self._feed.announce(change, now=Taken(self.keys))

    async def _pump(self, reader: StandbyConsumer[T]) -> None:
        """Offer the events of one key, one at a time."""
        offer: _Offer[T] | None = None
        try:
            async for event in reader:
                offer = _Offer(reader, event)
                self._offers.append(offer)
                self._wake.set()
                await offer.taken.wait()
                offer = None
        except asyncio.CancelledError:
            if offer is not None and not offer.taken.is_set():
                self._offers.remove(offer)
                await reader.give_back(offer.event)
            raise
        except Exception as error:  # noqa: BLE001 - whoever iterates is told
            self._failure = self._failure or error
            self._wake.set()
            self._changed.set()
