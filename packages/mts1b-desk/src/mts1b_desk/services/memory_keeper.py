"""A core whose state is in memory: an event is handled in one piece, and what follows from it is on its way.

Nothing is waited for between an event and its effects, so no lock is held and no other task gets a turn.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from mts1b_platform.eventbus import Event, EventBus
from mts1b_platform.eventbus.outbox.sender import Sender

from mts1b_desk.cores.core import Core, Effects, NeedQuotes
from mts1b_desk.errors import Fatal
from mts1b_desk.services.keeper import Keeper
from mts1b_desk.state.memory import MemoryStore
from mts1b_desk.state.store import Store


class MemoryKeeper(Keeper):
    """A :class:`Keeper` of what ends with its process."""

    def __init__(
        self, core: Core, store: MemoryStore, bus: EventBus, *, owner: str, need: Callable[[NeedQuotes], None]
    ) -> None:
        self._memory = store
        super().__init__(core, store, bus, owner=owner, need=need)
        core.note_no_changes()
        self._broken = False
        """Whether the core has failed, and may be changed by a half."""

    def _make_relay(self, bus: EventBus, owner: str) -> Sender:
        del owner
        return Sender(bus, self._memory.waiting)

    def handle_at_once(self, event: Event[Any]) -> Awaitable[None] | None:
        """Handle a stored event; what is to be awaited when the core is held at rest, or cannot handle it.

        Raises:
            AlreadyDone: it was handled before.
            Fatal: the core could not handle an earlier one.
        """
        if self._turn.locked():
            return self.handle(event)
        self._refuse_when_broken()
        self._memory.begin(event)
        try:
            effects = self._handled(event)
        except Exception as error:  # noqa: BLE001 - it is told by what is awaited
            self._broken = True
            return self._fail(event, error)
        if effects:
            self._tell(effects, event.trace_id)
        return None

    async def _fail(self, event: Event[Any], error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        await event.reject(why)
        raise Fatal(
            f"cannot handle {event.subject} (sequence {event.seq} of {event.stream}), a dead letter now: {why}"
        ) from error

    async def do(self, step: Callable[[], Effects]) -> None:
        """Do what no event asked for."""
        self._refuse_when_broken()
        await super().do(step)

    async def _commit(self, effects: Effects) -> None:
        if effects:
            self._refuse_when_broken()
        self._tell(effects, None)

    def _tell(self, effects: Effects, trace_id: str | None) -> None:
        """What follows is on its way, in the trace of the order or signal that it is about, else in ``trace_id``."""
        self._memory.tell(self._emits(effects, trace_id))
        self._after(effects)

    def _refuse_when_broken(self) -> None:
        if self._broken:
            raise Fatal(f"the core of {self._core.service} has failed before: nothing follows from it any more")


def make_keeper(core: Core, store: Store, bus: EventBus, *, owner: str, need: Callable[[NeedQuotes], None]) -> Keeper:
    """The keeper of ``core`` that fits its ``store``."""
    if isinstance(store, MemoryStore):
        return MemoryKeeper(core, store, bus, owner=owner, need=need)
    return Keeper(core, store, bus, owner=owner, need=need)
