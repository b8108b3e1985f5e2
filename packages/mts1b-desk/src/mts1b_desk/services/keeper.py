"""A core and its database: an event, the new state and its effects are stored in one transaction, once.

Only one event or piece of market data is worked at a time. Between two commits the core may have worked market data
that nothing followed from; it is stored with the next commit, and worked again when the service dies before.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from mts1b_platform.eventbus import Event, EventBus
from mts1b_platform.eventbus.outbox import Outbox, Relay
from mts1b_platform.logs import get_logger

from mts1b_desk.cores.core import Core, Effects, Emit, NeedQuotes
from mts1b_desk.services.causes import Causes
from mts1b_desk.services.service import Fatal
from mts1b_desk.state.store import Store
from mts1b_desk.tables import Change

log = get_logger("mts1b.desk.keeper")

_TABLE = "service"
_TAKEN, _CLOSED = "taken", "closed"
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
        self._core = core
        self._store = store
        self._need = need
        self._causes = Causes()
        self._turn = asyncio.Lock()
        self._unsaved = 0
        self._stored = 0
        self._relay = Relay(bus, store.waiting, poll=1.0, lease=15.0, owner=owner)

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

    async def open(self) -> None:
        """Bring the core to the state that is stored, and store what it has to say first.

        Raises:
            StoreError: the database cannot be used.
        """
        rows = dict(await self._store.open())
        self._stored = await self._store.backlog()
        own = dict(rows.pop(_TABLE, ()))
        self.taken = int(own.get(_TAKEN, 0))
        self.closed = _CLOSED in own
        if rows or own:
            self._core.restore(rows)
            log.info("going on from what is stored", taken=self.taken, unpublished=self._stored)
        await self.do(self._core.start)

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

    async def handle(self, event: Event[Any], *, last: bool = False) -> None:
        """Handle a stored event; ``last`` for the end of the session.

        Raises:
            AlreadyDone: it was handled before.
            Fatal: it could not be stored, or the core cannot handle it: then it is a dead letter.
        """
        self._causes.remember(event)
        async with self._exclusive(self._store.once(event)) as work:
            try:
                effects = self._core.handle(event.registered, event.payload, event.timestamp)
            except Exception as error:
                # A core is deterministic: a second try would fail alike, and the first may have changed a part.
                await event.reject(f"{type(error).__name__}: {error}")
                raise
            self.closed = self.closed or last
            await work(effects)

    async def do(self, step: Callable[[], Effects]) -> None:
        """Do and store what no event asked for."""
        async with self._exclusive(self._store.transaction()) as work:
            await work(step())

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
        try:
            async with self._store.transaction() as tx:
                await self._write(tx, effects)
        except Exception as error:
            raise _fatal(error) from error
        self._after(effects)

    @asynccontextmanager
    async def _exclusive(self, transaction: AbstractAsyncContextManager[Any]) -> AsyncGenerator[Any]:
        """A transaction in which the core changes; what goes wrong once it may have changed ends the service."""
        begun = False
        made: Effects = ()
        async with self._turn:
            try:
                async with transaction as tx:
                    begun = True

                    async def work(effects: Effects) -> None:
                        nonlocal made
                        made = effects
                        await self._write(tx, effects)

                    yield work
            except Exception as error:
                if begun:
                    raise _fatal(error) from error
                raise
            self._after(made)

    async def _write(self, tx: Any, effects: Effects) -> None:
        emits = [(effect, self._trace_of(effect)) for effect in effects if isinstance(effect, Emit)]
        if not self._store.keeps:
            self._core.forget_changes()
            await self._store.write(tx, (), emits)
            return
        changes = [*self._core.changes(), Change(_TABLE, _TAKEN, b"%d" % self.taken)]
        if self.closed:
            changes.append(Change(_TABLE, _CLOSED, b"1"))
        await self._store.write(tx, changes, emits)

    def _after(self, effects: Effects) -> None:
        """The transaction is committed."""
        self._unsaved = 0
        emitted = 0
        for effect in effects:
            if isinstance(effect, Emit):
                emitted += 1
            else:
                self._need(effect)
        if emitted:
            self._stored += emitted
            self._relay.wake()

    def _trace_of(self, effect: Emit) -> str | None:
        return self._causes.of(effect.subject, effect.payload)


def _fatal(error: Exception) -> Fatal:
    log.critical("what was worked cannot be stored; the service starts anew", error=str(error))
    return Fatal(f"what was worked cannot be stored: {error or type(error).__name__}")
