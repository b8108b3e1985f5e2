"""What handlers do in every workload: what the plan says, and tell of it."""

import asyncio

from mts1b_foundation.orders import Order
from mts1b_platform.eventbus import Event

from simulation.record import Effect, Reader
from simulation.workloads.stage import Stage


class HandlerFails(Exception):
    """What a handler raises because its plan says so."""


def number_of(event: Event[Order]) -> int:
    """The number of an order."""
    return int(event.payload.order_id[1:])


async def handle(stage: Stage, reader: Reader, event: Event[Order]) -> None:
    """Handle ``event``, and tell of it from the beginning to the end."""
    number = number_of(event)
    reader.begin(stage.name, number)
    if event.term:
        reader.terms.append((stage.name, event.term))
    try:
        await act(stage, reader, event)
    finally:
        reader.leave(stage.name, number)


async def act(stage: Stage, reader: Reader, event: Event[Order]) -> None:
    """Block, work, fail or return."""
    plan, number = stage.plan, number_of(event)
    if plan.block:
        stage.block(plan.block)
    if plan.work:
        await asyncio.sleep(plan.work)
    if plan.fail and stage.rng.random() < plan.fail:
        reader.failed(number)
        raise HandlerFails(f"the plan of order {number}")
    reader.handled(Effect(stage.time(), stage.name, number, event.seq, event.deliveries))
    stage.note("effect", number, event.deliveries)
