"""The events of a session, read from the streams that store them."""

from collections.abc import Callable
from typing import Any, TypeVar

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import (
    MARKETDATA_SESSIONS_SAMPLED,
    OMS_FILLS_CREATED_V2,
    OMS_ORDERS_REJECTED_V2,
    TREASURY_NAV_V2,
    DurableSubject,
)
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.durables import stream_of

from mts1b_desk.errors import DeskError
from mts1b_desk.report.figures import Report, report_of
from mts1b_desk.stored import Stored, stored_events

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
    progress("reading prices")
    sampled = await _everything(bus, MARKETDATA_SESSIONS_SAMPLED)
    progress("reading rejected orders")
    rejected = await _everything(bus, OMS_ORDERS_REJECTED_V2)
    return report_of(
        session,
        [event.payload for event in valued if _session_of(event) == session],
        [event.payload for event in fills if event.payload.order_id.startswith(f"{session}.")],
        [event.payload for event in rejected if event.payload.order_id.startswith(f"{session}.")],
        [event.payload for event in sampled if event.payload.session == session],
    )


def _session_of(event: Stored[Any]) -> str:
    """The session that a valuation names in its message id."""
    return event.msg_id.partition(":")[0]


async def _everything(bus: EventBus, subject: DurableSubject[P]) -> list[Stored[P]]:
    """Every stored event of a subject, in the order of its stream."""
    return [each async for each in stored_events(bus, await stream_of(bus, (subject,)), (subject,))]
