"""One producer; two instances of a service whose handler is called once per order, by the store in the bus itself."""

import asyncio
from functools import partial
from typing import Final

from mts1b_foundation.orders import Order
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, RetryPolicy
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.service import Service

from simulation.plan import Plan
from simulation.record import Reader, Record
from simulation.workloads.handling import handle
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


async def serve(stage: Stage) -> None:
    """Serve until told to stop."""
    plan, reader = stage.plan, stage.record.readers[READERS]
    service = Service("mts1b-treasury", **stage.connect_options())
    policy = RetryPolicy(max_deliveries=plan.max_deliveries, base=0.1, cap=0.5)

    @service.consumes(
        OMS_ORDERS_CREATED,
        durable=READERS,
        dedupe=lambda bus: KvDedupe(bus, lease=5.0),
        concurrency=plan.concurrency,
        ack_wait=plan.ack_wait,
        prefetch=plan.prefetch,
        policy=policy,
    )
    async def book(event: Event[Order], claim: object) -> None:
        del claim
        await handle(stage, reader, event)

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
