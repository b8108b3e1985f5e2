"""Publishing one event with the guarantee of its subject's tier.

*Best effort*: handed to the connection and forgotten. While there is no connection the event is dropped and counted: a
stale quote that goes out after a reconnect is worse than none.

*At least once*: sent until JetStream has stored it (``durable.py``).
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from mts1b_foundation.subjects import DurableSubject, Subject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.errors import BusClosed, BusError
from mts1b_platform.eventbus.events.event import LiveEvent
from mts1b_platform.eventbus.events.outgoing import Ack, Outgoing
from mts1b_platform.eventbus.hooks import Hooks, ToldOfOne, of_best_effort
from mts1b_platform.eventbus.limits import check_timeout
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.eventbus.publishing.durable import send_durable
from mts1b_platform.eventbus.publishing.failures import publish_error
from mts1b_platform.eventbus.publishing.prepare import draft_of, prepare
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.publish")

DEFAULT_DEADLINE: Final = 30.0
"""Seconds until a durable publish gives up."""
_BEST_EFFORT_WAIT: Final = 0.1
"""Most seconds for which a best-effort publisher is held up by a server that takes events too slowly."""


async def emit(
    context: PublishContext,
    subject: Subject[T],
    event: T,
    *,
    cause: LiveEvent[Any] | None = None,
    msg_id: str | None = None,
    trace_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    deadline: float = DEFAULT_DEADLINE,
) -> Ack | None:
    """See :meth:`EventBus.emit`."""
    if deadline is not DEFAULT_DEADLINE:
        check_timeout("deadline", deadline)
    client = context.client
    hooks = client.hooks
    trace = trace_id or (cause.trace_id if cause else None)
    if not isinstance(subject, DurableSubject):
        if headers is not None or msg_id is not None:
            hooks = of_best_effort(hooks)
        else:
            if hooks is not None:
                watching = context.told_of_one
                if watching.hooks is not hooks:
                    watching = context.told_of_one = ToldOfOne(hooks)
                hooks = watching.told
                if watching.share is not None:
                    hooks, trace = watching.of_trace(trace, cause)
            if hooks is None:
                if context.publisher(subject).send_volatile(event, trace) and client.connection.above_high_water:
                    await _wait_for_room(context)
                return None
    out = prepare(context, subject, event, msg_id=msg_id, trace_id=trace, headers=headers)
    if hooks is None:
        return await _send(context, subject, out, deadline)
    return await _send_watched(context, hooks, subject, event, out, cause, deadline)


async def _send_watched(
    context: PublishContext,
    hooks: Hooks,
    subject: Subject[T],
    event: T,
    out: Outgoing,
    cause: LiveEvent[Any] | None,
    deadline: float,
) -> Ack | None:
    mark = hooks.publishing(subject, event, out, cause)
    try:
        ack = await _send(context, subject, out, deadline)
    except BaseException as error:
        hooks.published(mark, out, None, error)
        raise
    hooks.published(mark, out, ack, None)
    return ack


async def _send(context: PublishContext, subject: Subject[Any], out: Outgoing, deadline: float) -> Ack | None:
    if isinstance(subject, DurableSubject):
        return await send_durable(context, subject, out, deadline=deadline)
    client, draft = context.client, draft_of(context, subject, out)
    try:
        frame = draft.template.encode(draft.payload, draft.trace_id, draft.msg_id, b"", draft.extra)
        sent = client.connection.send_volatile(frame)
    except (BusError, HeaderError) as error:
        raise publish_error(client, out.subject, len(out.payload), error) from None
    (client.counters.published if sent else client.counters.publish_dropped)[out.pattern] += 1
    return None


async def _wait_for_room(context: PublishContext) -> None:
    try:
        async with asyncio.timeout(_BEST_EFFORT_WAIT):
            await context.client.connection.writable()
    except TimeoutError:
        log.debug("the server takes events more slowly than they come")
    except BusClosed:
        raise BusClosed("the bus was closed while a publisher waited for room") from None
