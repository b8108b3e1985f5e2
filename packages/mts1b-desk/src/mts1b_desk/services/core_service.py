"""A core on the bus: events in, through the core, effects out.

An event is acknowledged when its effects are in the service's database, in the transaction that marks it as handled.
Effects leave from there in the order in which the core made them. A service whose database fails ends, to be started
again, instead of going on with books that nobody will know of.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from mts1b_platform.eventbus import Consumer, Event, EventBus, RetryPolicy
from mts1b_platform.eventbus.jetstream.api import js_api
from pydantic import BaseModel

from mts1b_desk.cores.core import Core, NeedQuotes
from mts1b_desk.declared import ACK_WAIT, INPUTS, TAKEOVER, Input
from mts1b_desk.errors import DeskError
from mts1b_desk.protocol import Durable, Status
from mts1b_desk.services.beginning import check_beginning, find_beginning
from mts1b_desk.services.keeper import Keeper
from mts1b_desk.services.requests import Answer
from mts1b_desk.services.service import Job, Service
from mts1b_desk.settings import DeskSettings
from mts1b_desk.state.store import Store

_RETRY = RetryPolicy(max_deliveries=1_000, base=0.1, cap=1.0)
"""Crashes must not use up deliveries: what the core cannot handle is a dead letter at once (``keeper.py``)."""
_FORGOTTEN_AFTER = 600.0
"""Seconds after which the server forgets the durables of a run whose state is not kept."""
_POLL = 0.02

C = TypeVar("C", bound=Core)


class CoreService(Service, Generic[C]):
    """One core as a service. Subclasses add what only their core needs."""

    def __init__(self, core: C, bus: EventBus, settings: DeskSettings, store: Store) -> None:
        super().__init__(bus, settings)
        self.core = core
        self.name = core.service
        self.repo = core.repo
        self.keeper = Keeper(core, store, bus, owner=f"{settings.session}-{self.name}", need=self.need)
        self._settled = asyncio.Event()
        self._consumers: list[tuple[Input, Consumer[Any]]] = []

    async def prepare(self) -> None:
        """Read the state; create the durables, or find them where services may create none."""
        found, inputs = self.bus.has_identities, INPUTS[self.name]
        await self.keeper.open(partial(find_beginning, self.bus, inputs) if found else None)
        await check_beginning(self.bus, self.keeper.begins)
        await self.subscribe()
        for wanted in inputs:
            instances: dict[str, Any] = {"instances": "standby", "takeover": TAKEOVER} if found or self.office else {}
            consumer: Consumer[Any] = self.bus.consume(
                *wanted.subjects,
                durable=wanted.durable(self.name, None if found else self.settings.session),
                policy=_RETRY,
                deliver=wanted.deliver,
                prefetch=64,
                ack_wait=ACK_WAIT,
                inactive_threshold=None if found or self.settings.kept else _FORGOTTEN_AFTER,
                ordered_by=_one_order,
                **instances,
            )
            await consumer.start()
            self._consumers.append((wanted, consumer))
            self.durables.append(Durable(stream=consumer.stream, name=consumer.durable))

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
        for wanted, consumer in self._consumers:
            if wanted.deliver == "all":
                await _until_drained(self.bus, consumer)
        await self.before_publishing()
        self._settled.set()

    async def before_publishing(self) -> None:
        """Every earlier halt is known, and nothing of what waits in the database is published yet."""

    def jobs(self) -> list[Job]:
        """One job per input, and one that publishes."""
        return [*(self._reader(wanted, consumer) for wanted, consumer in self._consumers), self._publish]

    def answers(self) -> dict[str, Answer]:
        """The core's books."""

        async def book(_: bytes) -> BaseModel:
            if (found := self.core.book()) is None:
                raise DeskError(f"{self.name} keeps no books")
            return found

        return {"book": book}

    def status(self) -> Status:
        """How the service is doing."""
        return super().status().model_copy(update={"closed": True, "idle": self.core.idle and self.keeper.idle})

    def need(self, need: NeedQuotes) -> None:
        """The core needs older quotes."""
        raise NotImplementedError(f"{self.name} needs quotes of {need.symbol} and does not read them")

    async def handle(self, event: Event[Any], behind: Sequence[Event[Any]]) -> None:
        """Handle one event of an input, and those that wait behind it there."""
        await self.keeper.handle(event, behind)

    async def _handle_own(self, consumer: Consumer[Any], event: Event[Any]) -> None:
        """Handle an event of the session; one of before is acknowledged, and nothing else."""
        if event.seq > self.keeper.begins.get(event.stream, 0) and not self.keeper.is_ahead(event):
            await self.handle(event, await consumer.behind(event))

    async def _publish(self) -> None:
        await self._settled.wait()
        await self.keeper.publish()

    def _reader(self, wanted: Input, consumer: Consumer[Any]) -> Job:
        async def read() -> None:
            if wanted.deliver == "new":
                await self._settled.wait()  # no order moves before every halt is known
            await consumer.run(partial(self._handle_own, consumer))

        return read


def _one_order(_: Any) -> str:
    """Everything that a durable reads is handled in the order of its stream."""
    return ""


async def _until_drained(bus: EventBus, consumer: Consumer[Any]) -> None:
    """Wait until a durable has nothing to deliver and nothing delivered that is not acknowledged."""
    while True:
        info = await js_api(bus, f"CONSUMER.INFO.{consumer.stream}.{consumer.durable}")
        if not info["num_pending"] and not info["num_ack_pending"]:
            return
        await asyncio.sleep(_POLL)
