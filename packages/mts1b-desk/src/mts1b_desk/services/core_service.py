"""A core on the bus: events in, through the core, effects out.

An event is acknowledged when its effects are in the service's database, in the transaction that marks it as handled.
Effects leave from there in the order in which the core made them. A service whose database fails ends, to be started
again, instead of going on with books that nobody will know of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from mts1b_platform.eventbus import Event, EventBus
from pydantic import BaseModel

from mts1b_desk.cores.core import Core, NeedQuotes
from mts1b_desk.declared import INPUTS, Input
from mts1b_desk.errors import DeskError
from mts1b_desk.protocol import Status
from mts1b_desk.services.beginning import check_beginning, find_beginning
from mts1b_desk.services.inputs import Acknowledged, Followed, Reading
from mts1b_desk.services.memory_keeper import make_keeper
from mts1b_desk.services.requests import Answer
from mts1b_desk.services.service import Job, Service
from mts1b_desk.settings import DeskSettings, Durability
from mts1b_desk.state.store import Store

C = TypeVar("C", bound=Core)


class CoreService(Service, Generic[C]):
    """One core as a service. Subclasses add what only their core needs."""

    def __init__(self, core: C, bus: EventBus, settings: DeskSettings, store: Store) -> None:
        super().__init__(bus, settings)
        self.core = core
        self.name = core.service
        self.repo = core.repo
        self.keeper = make_keeper(core, store, bus, owner=f"{settings.session}-{self.name}", need=self.need)
        self._settled = asyncio.Event()
        self._inputs: list[tuple[Input, Reading]] = []

    async def prepare(self) -> None:
        """Read the state; create the durables, or find them where services may create none."""
        found, inputs = self.bus.has_identities, INPUTS[self.name]
        await self.keeper.open(partial(find_beginning, self.bus, inputs) if found else None)
        await check_beginning(self.bus, self.keeper.begins)
        await self.subscribe()
        for wanted in inputs:
            reading = self._reading(wanted)
            await reading.start()
            self._inputs.append((wanted, reading))

    async def subscribe(self) -> None:
        """Subscribe to what is not stored; the state is read, and no event was handled yet."""

    async def finish(self) -> None:
        """Store what was worked and is not stored yet."""
        await self.keeper.close()

    async def close(self) -> None:
        """Close the database."""
        await self.keeper.shut()

    async def settle(self) -> None:
        """Wait until every earlier halt is known."""
        for wanted, reading in self._inputs:
            if wanted.deliver == "all":
                await reading.caught_up()
        await self.before_publishing()
        self._settled.set()

    async def before_publishing(self) -> None:
        """Every earlier halt is known, and nothing of what waits in the database is published yet."""

    def jobs(self) -> list[Job]:
        """One job per input, and one that publishes."""
        return [*(self._reader(wanted, reading) for wanted, reading in self._inputs), self._publish]

    def answers(self) -> dict[str, Answer]:
        """The core's books."""

        async def book(_: bytes) -> BaseModel:
            if (found := self.core.book()) is None:
                raise DeskError(f"{self.name} keeps no books")
            return found

        return {"book": book}

    def status(self) -> Status:
        """How the service is doing."""
        update = {
            "closed": True,
            "idle": self.core.idle and self.keeper.idle,
            "durables": tuple(reading.place for _, reading in self._inputs),
        }
        return super().status().model_copy(update=update)

    def need(self, need: NeedQuotes) -> None:
        """The core needs older quotes."""
        raise NotImplementedError(f"{self.name} needs quotes of {need.symbol} and does not read them")

    async def handle(self, event: Event[Any], behind: Sequence[Event[Any]]) -> None:
        """Handle one event of an input, and those that wait behind it there."""
        await self.keeper.handle(event, behind)

    def handle_at_once(self, event: Event[Any]) -> Awaitable[None] | None:
        """Handle one event of an input that is followed; what is to be awaited before the next one, if anything."""
        return self.keeper.handle_at_once(event)

    async def _handle_own(self, event: Event[Any], behind: Callable[[], Awaitable[Sequence[Event[Any]]]]) -> None:
        """Handle an event of the session; one of before is acknowledged, and nothing else."""
        if event.seq > self.keeper.begins.get(event.stream, 0) and not self.keeper.is_ahead(event):
            await self.handle(event, await behind())

    async def _publish(self) -> None:
        await self._settled.wait()
        await self.keeper.publish()

    def _reading(self, wanted: Input) -> Reading:
        found = self.bus.has_identities
        name = wanted.durable(self.name, None if found else self.settings.session)
        if self.settings.durability is Durability.RELAXED:
            return Followed(self.bus, wanted, name, self.handle_at_once)
        instances = found or self.office is not None
        kept = found or self.settings.kept
        return Acknowledged(self.bus, wanted, name, self._handle_own, kept=kept, instances=instances)

    def _reader(self, wanted: Input, reading: Reading) -> Job:
        async def read() -> None:
            if wanted.deliver == "new":
                await self._settled.wait()  # no order moves before every halt is known
            await reading.run()

        return read
