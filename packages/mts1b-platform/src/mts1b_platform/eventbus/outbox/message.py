"""An event as an outbox keeps it: sealed when it is added, so that what is published is what was meant then.

Subject, payload, message id, trace and actor are fixed inside the business transaction. The relay only carries.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import DurableSubject, registry

from mts1b_platform.eventbus.codec.payload import encoder
from mts1b_platform.eventbus.errors import NotTheProducer
from mts1b_platform.eventbus.events.trace import trace_id_for, traceparent_for
from mts1b_platform.eventbus.protocol.envelope import MSG_ID, TRACEPARENT, canonical, envelope


@dataclass(frozen=True, slots=True)
class Sealed:
    """One event ready to be stored in an outbox."""

    subject: str
    headers: dict[str, str]
    payload: bytes

    @property
    def header_text(self) -> str:
        """The headers as the outbox's column holds them."""
        return json.dumps(self.headers)


@dataclass(frozen=True, slots=True)
class Row:
    """One event that waits in an outbox. ``attempts`` counts publishes that were refused."""

    number: int
    subject: str
    headers: dict[str, str]
    payload: bytes
    attempts: int

    @property
    def msg_id(self) -> str:
        """The message id, the same at every attempt of every relay."""
        return self.headers[MSG_ID]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What an outbox holds: events that wait, seconds that the oldest has waited, events set aside."""

    waiting: int
    oldest: float
    parked: int


def seal(
    subject: DurableSubject[Any],
    event: Payload,
    *,
    service: str,
    actor: str | None,
    msg_id: str | None,
    trace_id: str | None,
    headers: Mapping[str, str] | None,
) -> Sealed:
    """The event with its envelope; inside ``async with event`` it joins that event's trace.

    Raises:
        SubjectError: the event is not of the subject's payload type.
        NotTheProducer: ``service`` is not the subject's producer.
        InvalidHeader: an extra header cannot go on the wire.
    """
    name = subject.format(event)
    if (producer := registry().producer_of(subject, name)) != service:
        raise NotTheProducer(
            f"{name} is published by {producer} alone, and this outbox is that of {service}; use a "
            f"subject of {service}, or an outbox with service={producer!r}"
        )
    trace = trace_id_for(trace_id)
    sealed = envelope(
        source_repo=service,
        schema=subject.schema_id,
        actor=getattr(event, "actor", None) or actor or service,
        trace_id=trace,
        msg_id=msg_id or subject.message_id(event) or "",
    )
    if (traceparent := traceparent_for(trace)) is not None:
        sealed[TRACEPARENT] = traceparent
    return Sealed(name, (canonical(headers) if headers else {}) | sealed, encoder(type(event))(event))
