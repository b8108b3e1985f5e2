"""A publisher bound to one subject: its header blocks stand ready, publishing splices in what is new.

``bus.emit`` uses one under the hood; a loop that publishes many events of one subject may hold it itself::

    quotes = bus.publisher(MARKETDATA_QUOTES)
    if not quotes.send_now(quote):      # no connection, or no room: dropped and counted
        ...
"""

from typing import TYPE_CHECKING, Any, Final, Generic

import nats.errors
from mts1b_foundation.subjects import Subject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.envelope import JSON
from mts1b_platform.eventbus.errors import BusClosed, NotTheProducer, PayloadTooLarge
from mts1b_platform.eventbus.headers import ACTOR, CONTENT_TYPE, SCHEMA, SOURCE_REPO
from mts1b_platform.eventbus.trace import trace_id_for
from mts1b_platform.eventbus.wire import FrameTemplate

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

_MAX_ACTORS: Final = 1024


class Publisher(Generic[T]):
    """Encodes the events of ``subject`` for the wire, as spoken by the bus's service.

    Raises:
        NotTheProducer: the bus does not speak as the subject's producer.
    """

    __slots__ = ("_bus", "_subject", "_templates")

    def __init__(self, bus: "EventBus", subject: Subject[T]) -> None:
        if subject.producer != bus.service:
            raise NotTheProducer(_not_the_producer(bus, subject))
        self._bus = bus
        self._subject = subject
        self._templates: dict[str, FrameTemplate] = {}

    def template(self, actor: str, name: str) -> FrameTemplate:
        """The frame template for events of ``actor`` on the concrete subject ``name``."""
        base = self._templates.get(actor)
        if base is None:
            base = self._bind(actor, name)
        return base.at(name)

    def send_now(self, event: T, trace_id: str | None = None) -> bool:
        """Publish with the guarantee of the best-effort tier, without a task switch.

        False: dropped and counted, because the connection is away or its buffer full.

        Raises:
            SubjectError: the event is not of the subject's payload type.
            PayloadTooLarge: the event has more bytes than the server takes.
            AccessDenied: the server refused this subject within the last second.
            BusClosed: the bus was closed.
        """
        bus, subject = self._bus, self._subject
        name = subject.format(event)
        if bus.denials.recent:
            bus.denials.check("publish", name)
        data = event.__pydantic_serializer__.to_json(event)
        # not getattr(): a missing attribute of a pydantic model costs more than the rest of this method
        actor = event.__dict__.get("actor") or bus.actor
        frame = self.template(actor, name).encode(data, trace_id_for(trace_id))
        try:
            sent = bus.lane.send_now(frame, len(data))
        except nats.errors.MaxPayloadError:
            raise PayloadTooLarge(_too_large(bus, name, data)) from None
        except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError):
            raise BusClosed(f"{name}: the bus is closed; the event was not sent") from None
        counters = bus.counters
        if sent:
            counters.published[subject.pattern] += 1
        else:
            counters.publish_dropped[subject.pattern] += 1
        return sent

    def _bind(self, actor: str, name: str) -> FrameTemplate:
        subject = self._subject
        if len(self._templates) >= _MAX_ACTORS:
            self._templates.clear()
        base = self._templates[actor] = FrameTemplate(
            name,
            {CONTENT_TYPE: JSON, SOURCE_REPO: subject.producer, SCHEMA: subject.schema_id, ACTOR: actor},
        )
        return base


def _too_large(bus: "EventBus", name: str, data: bytes) -> str:
    return (
        f"{name}: the event has {len(data)} bytes, the server takes {bus.max_payload} with its headers; send a "
        "reference to the data instead, or raise max_payload on the server"
    )


def _not_the_producer(bus: "EventBus", subject: Subject[Any]) -> str:
    remedy = f"set MTS1B_SERVICE={subject.producer} or connect(service={subject.producer!r})"
    if bus.settings.service is None:
        return f"{subject.pattern}: this process has not said as whom it speaks; {remedy}"
    return (
        f"{subject.pattern} is published by {subject.producer} alone, and this process speaks as {bus.service}; "
        f"publish on a subject of {bus.service}, or {remedy}"
    )
