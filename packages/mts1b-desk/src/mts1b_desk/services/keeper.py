"""A core and its database: an event, the new state and its effects are stored in one transaction, once.

Events that wait behind an event share its transaction, and so its sync of the disk; none is waited for. Only one event
or piece of market data is worked at a time. Between two commits the core may have worked market data
that nothing followed from; it is stored with the next commit, and worked again when the service dies before.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any

from mts1b_platform.eventbus import Event, EventBus
from mts1b_platform.eventbus.errors import AlreadyDone
from mts1b_platform.eventbus.outbox import Outbox, Relay
from mts1b_platform.eventbus.outbox.sender import Sender
from mts1b_platform.eventbus.protocol.position import MessageKey
from mts1b_platform.logs import get_logger

from mts1b_desk.cores.core import Core, Effect, Effects, Emit, NeedQuotes
from mts1b_desk.errors import Fatal
from mts1b_desk.services.beginning import Beginning
from mts1b_desk.services.causes import Causes
from mts1b_desk.state.store import Store
from mts1b_desk.tables import Change

log = get_logger("mts1b.desk.keeper")

_TABLE = "service"
_TAKEN, _CLOSED, _BEGINS = "taken", "closed", "begins/"
_UNSAVED = 1000
"""Most pieces of market data that are worked without being stored."""
_LAST_LOOKS = 100


class Keeper:
    """Serialises every change of a core, and stores it.

    Args:
        core: whose state it is.
        store: where it is kept.
        bus: where events are published that are stored; it speaks as the core's repo.
        owner: names the one instance of this service.
        need: what to do about quotes that the core needs.
    """

    def __init__(
        self, core: Core, store: Store, bus: EventBus, *, owner: str, need: Callable[[NeedQuotes], None]
    ) -> None:
        self.taken = 0
        """Position of the feed up to which the core has worked."""
        self.closed = False
        """Whether the end of the session was worked."""
        self.resumed = False
        """Whether the state was made by an earlier life of the service."""
        self.begins: dict[str, int] = {}
        """By stream, the last sequence that is not the session's; empty where durables begin with the session."""
        self._core = core
        self._store = store
        self._need = need
        self._causes = Causes()
        self._ahead: dict[tuple[str, str], set[MessageKey]] = {}
        """By stream and durable, what was stored with an event before it in the last such group."""
        self._turn = asyncio.Lock()
        self._unsaved = 0
        self._stored = 0
        self._unwritten: list[Change] = []
        self._relay = self._make_relay(bus, owner)

    def _make_relay(self, bus: EventBus, owner: str) -> Relay | Sender:
        """What publishes the events that are stored."""
        return Relay(bus, self._store.waiting, poll=1.0, lease=15.0, owner=owner)

    @property
    def idle(self) -> bool:
        """Whether nothing is being worked and everything that was stored is published."""
        return not self._turn.locked() and self._published

    @property
    def _published(self) -> bool:
        return self._relay.counters.published + self._relay.counters.parked >= self._stored

    @property
    def waiting(self) -> Outbox:
        """What is stored and not published yet; to be used before :meth:`publish`."""
        return self._store.waiting

    async def open(self, begin: Callable[[], Awaitable[Beginning]] | None = None) -> None:
        """Bring the core to the state that is stored, and store what it has to say first.

        Args:
            begin: where a session begins whose state is not stored yet, when its durables are older than it.

        Raises:
            StoreError: the database cannot be used.
        """
        rows = dict(await self._store.open())
        self._stored = await self._store.backlog()
        own = dict(rows.pop(_TABLE, ()))
        self.taken = int(own.get(_TAKEN, 0))
        self.closed = _CLOSED in own
        if rows or own:
            self.resumed = True
            self._core.restore(rows)
            self.begins = {key.removeprefix(_BEGINS): int(last) for key, last in own.items() if key.startswith(_BEGINS)}
            log.info("going on from what is stored", taken=self.taken, unpublished=self._stored)
            await self.do(self._core.start)
            return
        beginning = await begin() if begin is not None else Beginning({})
        self.begins = beginning.last
        self._unwritten = [Change(_TABLE, _BEGINS + stream, b"%d" % last) for stream, last in self.begins.items()]
        await self.do(partial(self._first, beginning))

    def _first(self, beginning: Beginning) -> Effects:
        effects = [*self._core.start()]
        for each in beginning.decided:
            effects += self._core.handle(each.registered, each.payload, each.stored_at)
        return effects

    async def publish(self) -> None:
        """Publish what is stored, until cancelled."""
        async with self._turn:
            self._stored = await self._store.backlog()
        await self._relay.run()

    async def close(self) -> None:
        """Store what is not stored yet, and publish what can be published soon; the rest waits in the database."""
        await self.save()
        for _ in range(_LAST_LOOKS):
            if self.idle:
                break
            await asyncio.sleep(0.02)
        self._relay.stop()

    async def shut(self) -> None:
        """Close the database."""
        await self._store.close()

    @asynccontextmanager
    async def at_rest(self) -> AsyncGenerator[None]:
        """Inside the block the core does nothing, and everything that it has said before is published."""
        async with self._turn:
            while not self._published:  # noqa: ASYNC110 - the relay counts, it does not tell
                await asyncio.sleep(0.001)
            yield

    async def handle(self, event: Event[Any], behind: Sequence[Event[Any]] = (), *, last: bool = False) -> None:
        """Handle a stored event, and with one commit those that wait ``behind`` it; ``last`` for the session's end.

        Those are passed over when their turn comes (:meth:`is_ahead`). A core that cannot handle one of them ends the
        service with nothing stored; the events come again, and each alone.

        Raises:
            AlreadyDone: ``event`` was handled before.
            Fatal: it could not be stored, or the core cannot handle it: then it is a dead letter.
        """
        done: list[Event[Any]] = []
        async with self._exclusive(self._store.once(event)) as (tx, said):
            try:
                effects = self._handled(event)
            except Exception as error:
                # A core is deterministic: a second try would fail alike, and the first may have changed a part.
                await event.reject(f"{type(error).__name__}: {error}")
                raise
            await self._say(tx, effects, said, event.trace_id)
            for each in behind:
                with suppress(AlreadyDone):  # it is acknowledged, and counted, in its turn
                    await self._store.mark(tx, each)
                    with each.beside():
                        await self._say(tx, self._handled(each), said, each.trace_id)
                    done.append(each)
            self.closed = self.closed or last
        if done:
            self._ahead[event.stream, event.position.consumer] = {each.key for each in done}

    def handle_at_once(self, event: Event[Any]) -> Awaitable[None] | None:
        """Handle a stored event, in one piece where that can be; else what is to be awaited.

        Raises:
            AlreadyDone: it was handled before.
        """
        return self.handle(event)

    def is_ahead(self, event: Event[Any]) -> bool:
        """Whether ``event`` was handled with one before it, and is stored."""
        return event.key in self._ahead.get((event.stream, event.position.consumer), ())

    def _handled(self, event: Event[Any]) -> Effects:
        self._causes.remember(event.registered, event.payload, event.trace_id)
        return self._core.handle(event.registered, event.payload, event.timestamp)

    async def do(self, step: Callable[[], Effects]) -> None:
        """Do and store what no event asked for."""
        async with self._exclusive(self._store.transaction()) as (tx, said):
            await self._say(tx, step(), said)

    async def take(self, items: Sequence[Any], step: Callable[[Any], Effects], position: Callable[[Any], int]) -> None:
        """Work the next pieces of market data; stored at once only when something follows from them."""
        async with self._turn:
            effects: list[Any] = []
            for item in items:
                effects += step(item)
            self.taken = position(items[-1])
            self._unsaved += len(items)
            if effects or self._unsaved >= _UNSAVED:
                await self._commit(effects)

    async def save(self) -> None:
        """Store what was worked and is not stored yet."""
        async with self._turn:
            if self._unsaved:
                await self._commit(())

    async def _commit(self, effects: Effects) -> None:
        said: list[Effect] = []
        try:
            async with self._store.transaction() as tx:
                await self._say(tx, effects, said)
                await self._write(tx)
        except Exception as error:
            raise _fatal(error) from error
        self._after(said)

    @asynccontextmanager
    async def _exclusive(
        self, transaction: AbstractAsyncContextManager[Any]
    ) -> AsyncGenerator[tuple[Any, list[Effect]]]:
        """A transaction in which the core changes, and a list of what it says; its rows are stored at the end.

        What goes wrong once the core may have changed ends the service.
        """
        begun = False
        said: list[Effect] = []
        async with self._turn:
            try:
                async with transaction as tx:
                    begun = True
                    yield tx, said
                    await self._write(tx)
            except Exception as error:
                if begun:
                    raise _fatal(error) from error
                raise
            self._after(said)

    async def _say(self, tx: Any, effects: Effects, said: list[Effect], trace_id: str | None = None) -> None:
        """Store what is to be published, in the trace of the order or signal that it is about, else in ``trace_id``."""
        if emits := self._emits(effects, trace_id):
            await self._store.write(tx, (), emits)
        said += effects

    def _emits(self, effects: Effects, trace_id: str | None) -> list[tuple[Emit, str | None]]:
        """Of ``effects`` what is to be published, each with its trace."""
        cause_of = self._causes.of
        return [
            (effect, cause_of(effect.subject, effect.payload) or trace_id)
            for effect in effects
            if isinstance(effect, Emit)
        ]

    async def _write(self, tx: Any) -> None:
        """Store what has changed."""
        if not self._store.keeps:
            return
        changes = [*self._core.changes(), Change(_TABLE, _TAKEN, b"%d" % self.taken), *self._unwritten]
        if self.closed:
            changes.append(Change(_TABLE, _CLOSED, b"1"))
        await self._store.write(tx, changes, ())

    def _after(self, said: Effects) -> None:
        """The transaction is committed."""
        self._unsaved = 0
        self._unwritten = []
        emitted = 0
        for effect in said:
            if isinstance(effect, Emit):
                emitted += 1
            else:
                self._need(effect)
        if emitted:
            self._stored += emitted
            self._relay.wake()


def _fatal(error: Exception) -> Fatal:
    log.critical("what was worked cannot be stored; the service starts anew", error=str(error))
    return Fatal(f"what was worked cannot be stored: {error or type(error).__name__}")
