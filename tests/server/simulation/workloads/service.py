"""One producer; a service whose handler is called once per order.

Two instances with the store in the bus itself (``Services``); or one with a SQLite file, and little time to end
(``Books``).
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from mts1b_foundation.orders import Order
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, EventBus, RetryPolicy
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.service import Service

from simulation.plan import Plan
from simulation.record import Reader, Record
from simulation.workloads import outbox
from simulation.workloads.handling import act, handle, number_of
from simulation.workloads.orders import produce
from simulation.workloads.stage import Stage
from simulation.workloads.workload import Workload

READERS: Final = "service"


class Services(Workload):
    """See the module."""

    def __init__(self, plan: Plan, record: Record) -> None:
        super().__init__(plan, record)
        record.readers[READERS] = Reader(ordered=False, shared=True)
        self.roles = {"oms": produce, "service-a": partial(serve), "service-b": partial(serve)}


class Books(outbox.Outbox):
    """See the module."""

    drain_budget = 0.5

    def __init__(self, plan: Plan, record: Record) -> None:
        super().__init__(plan, record)
        self.roles = {"oms": produce, "service-a": partial(keep_books, path=self.directory / "books.db")}


async def serve(stage: Stage) -> None:
    """Serve until told to stop."""
    reader = stage.record.readers[READERS]
    service = Service("mts1b-treasury", **stage.connect_options())

    async def book(event: Event[Order], claim: object) -> None:
        del claim
        await handle(stage, reader, event)

    _consume(service, stage, READERS, lambda bus: KvDedupe(bus, lease=5.0))(book)
    await _until_told(service, stage)


async def keep_books(stage: Stage, path: Path) -> None:
    """Write each order into the books once, until told to stop."""
    reader = stage.record.readers[outbox.READERS]
    service = Service("mts1b-treasury", drain_budget=Books.drain_budget, **stage.connect_options())

    async def book(event: Event[Order], db: Any) -> None:
        reader.begin(stage.name, number_of(event))
        try:
            await outbox.write(db, event, stage.name)
            await act(stage, reader, event)
        finally:
            reader.leave(stage.name, number_of(event))

    _consume(service, stage, outbox.READERS, lambda _: SqliteDedupe(path))(book)
    await _until_told(service, stage)


def _consume(service: Service, stage: Stage, durable: str, store: Callable[[EventBus], Any]) -> Callable[[Any], Any]:
    plan = stage.plan
    return service.consumes(
        OMS_ORDERS_CREATED,
        durable=durable,
        dedupe=store,
        concurrency=plan.concurrency,
        ack_wait=plan.ack_wait,
        prefetch=plan.prefetch,
        policy=RetryPolicy(max_deliveries=plan.max_deliveries, base=0.1, cap=0.5),
    )


async def _until_told(service: Service, stage: Stage) -> None:
    stop = stage.stop = asyncio.Event()
    serving = asyncio.create_task(service.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        service.stop()
    code = await serving
    stage.note("served", code)
    if not stop.is_set():
        raise RuntimeError("serve() has ended though nobody stopped it")
