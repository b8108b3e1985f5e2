"""The events of a session, read from the streams that store them."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import OMS_FILLS_CREATED_V2, OMS_ORDERS_REJECTED_V2, TREASURY_NAV_V2, DurableSubject
from mts1b_platform.eventbus import BusError, Event, EventBus
from mts1b_platform.eventbus.jetstream.api import js_api

from mts1b_desk.errors import DeskError
from mts1b_desk.report.figures import Report, report_of

_FORGOTTEN_AFTER = 30.0
"""Seconds after which the server forgets the reader."""

P = TypeVar("P", bound=Payload)


async def collect(bus: EventBus, session: str | None, progress: Callable[[str], None]) -> Report:
    """The report of a session that runs or is over; of the one that was valued last when ``session`` is None.

    Args:
        bus: where the streams are.
        session: the name that the run was printed with.
        progress: told what is being read.

    Raises:
        DeskError: the streams hold nothing of the session.
        BusError: a stream cannot be read.
    """
    progress("reading valuations")
    valued = await _everything(bus, TREASURY_NAV_V2)
    sessions = list(dict.fromkeys(_session_of(event) for event in reversed(valued)))
    if not sessions:
        raise DeskError("the stream TREASURY_NAV holds no valuation of a desk: run one with `mts1b-desk run` first")
    session = session or sessions[0]
    if session not in sessions:
        raise DeskError(f"the streams hold nothing of session {session!r}; they hold {', '.join(sessions[:10])}")
    progress("reading fills")
    fills = await _everything(bus, OMS_FILLS_CREATED_V2)
    progress("reading rejected orders")
    rejected = await _everything(bus, OMS_ORDERS_REJECTED_V2)
    return report_of(
        session,
        [event.payload for event in valued if _session_of(event) == session],
        [event.payload for event in fills if event.payload.order_id.startswith(f"{session}.")],
        [event.payload for event in rejected if event.payload.order_id.startswith(f"{session}.")],
    )


def _session_of(event: Event[Any]) -> str:
    """The session that a valuation names in its message id."""
    return event.headers["Nats-Msg-Id"].partition(":")[0]


async def _everything(bus: EventBus, subject: DurableSubject[P]) -> list[Event[P]]:
    """Every stored event of a subject, in the order of its stream."""
    durable = f"desk-report-{secrets.token_hex(4)}"
    found: list[Event[P]] = []
    async with bus.consume(subject, durable=durable, inactive_threshold=_FORGOTTEN_AFTER) as consumer:
        name = f"{consumer.stream}.{consumer.durable}"
        info = await js_api(bus, f"CONSUMER.INFO.{name}")
        if info["num_pending"] or info["num_ack_pending"]:
            async for event in consumer:
                async with event:
                    found.append(event)
                if not event.position.pending:
                    break
    with suppress(BusError):  # the server forgets it anyway
        await js_api(bus, f"CONSUMER.DELETE.{name}")
    return found
