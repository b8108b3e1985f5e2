"""Has everything come to rest? The question that ends a run, answered without luck.

A desk is at rest when market data is closed, every service has worked all of it, no order is open, and no event is on
its way. Services are asked one after the other, so one round alone proves nothing: an event may slip from one that was
not asked yet to one that already was. Two rounds do. When every durable had nothing pending in both, and none of them
was given anything between its two answers, then nothing was on its way at any moment between the rounds. Where nothing
is acknowledged, pending is what the server has delivered and the service does not say that it has handled.
"""

from collections.abc import Sequence

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.api import js_api

from mts1b_desk.protocol import SERVICES, Status
from mts1b_desk.services.requests import ask

Round = tuple[tuple[str, int, int], ...]
"""For every durable: its name, what it was given and what it has acknowledged."""


async def at_rest(bus: EventBus, statuses: Sequence[Status]) -> bool:
    """Whether the desk is at rest; ``statuses`` are recent answers of all services, to save the effort when it is not.

    Raises:
        NoAnswer: a service does not answer.
        ApiError: a durable is gone.
        JetStreamUnavailable: JetStream does not answer.
    """
    if not _calm(statuses):
        return False
    first = await _round(bus, statuses)
    if first is None:
        return False
    again = [await ask(bus, service, "status", Status) for service in SERVICES]
    return _calm(again) and await _round(bus, again) == first


def _calm(statuses: Sequence[Status]) -> bool:
    return len(statuses) == len(SERVICES) and all(status.closed and status.idle for status in statuses)


async def _round(bus: EventBus, statuses: Sequence[Status]) -> Round | None:
    seen: list[tuple[str, int, int]] = []
    for durable in (durable for status in statuses for durable in status.durables):
        info = await js_api(bus, f"CONSUMER.INFO.{durable.stream}.{durable.name}")
        delivered = info["delivered"]["consumer_seq"]
        if info["num_pending"] or info["num_ack_pending"] or durable.handled not in (None, delivered):
            return None
        seen.append((durable.name, delivered, info["ack_floor"]["consumer_seq"]))
    return tuple(seen)
