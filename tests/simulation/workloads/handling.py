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
    """Block, work, fail or return."""
    plan, number = stage.plan, number_of(event)
    mine = (stage.name, number)
    reader.inside.append(mine)
    try:
        if plan.block:
            stage.block(plan.block)
        if plan.work:
            await asyncio.sleep(plan.work)
        if plan.fail and stage.rng.random() < plan.fail:
            reader.failures[number] += 1
            raise HandlerFails(f"the plan of order {number}")
        reader.effects.append(Effect(stage.time(), stage.name, number, event.seq, event.deliveries))
        stage.note("effect", number, event.deliveries)
    finally:
        if mine in reader.inside:  # a killed process is collected later: it must not end what another one does
            reader.inside.remove(mine)
