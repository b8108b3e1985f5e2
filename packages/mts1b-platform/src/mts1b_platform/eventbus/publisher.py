"""A publisher bound to one subject: its header blocks stand ready, publishing splices in what is new.

``bus.emit`` uses one under the hood; a loop that publishes many events of one subject may hold it itself::

    quotes = bus.publisher(MARKETDATA_QUOTES)
    if not quotes.send_now(quote):      # no connection, or no room: dropped and counted
        ...
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Generic

import nats.errors
from mts1b_foundation.subjects import Subject
from mts1b_foundation.subjects.subject import FUND, T

from mts1b_platform.eventbus.codec import encoder
from mts1b_platform.eventbus.envelope import JSON
from mts1b_platform.eventbus.errors import BusClosed, NotTheProducer, PayloadTooLarge
from mts1b_platform.eventbus.headers import ACTOR, CONTENT_TYPE, SCHEMA, SOURCE_REPO
from mts1b_platform.eventbus.trace import trace_id_for
from mts1b_platform.eventbus.wire import FrameTemplate

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

_MAX_TEMPLATES: Final = 16_384


class Publisher(Generic[T]):
    """Encodes the events of ``subject`` for the wire, as spoken by the bus's service.

    What an event's concrete subject and actor are made of (its key) finds a frame template that is ready for both, so
    that the cost of an event grows neither with the number of subjects nor with that of funds or symbols.

    Raises:
        NotTheProducer: the bus does not speak as the subject's producer.
    """

    __slots__ = ("_bases", "_bus", "_key_of", "_pattern", "_payload", "_subject", "_templates", "encode")

    def __init__(self, bus: "EventBus", subject: Subject[T]) -> None:
        if subject.producer != bus.service:
            raise NotTheProducer(_not_the_producer(bus, subject))
        self._bus = bus
        self._subject = subject
        self._payload = subject.payload
        self._pattern = subject.pattern
        self._key_of = _key(subject)
        self._templates: dict[Any, FrameTemplate] = {}
        self._bases: dict[str, FrameTemplate] = {}
        self.encode = encoder(subject.payload)
        """What writes an event as JSON."""

    def template(self, event: T) -> FrameTemplate:
        """The frame template for ``event``: its concrete subject and the headers that do not change.

        Raises:
            SubjectError: the event is not of the subject's payload type.
        """
        if type(event) is self._payload:
            found = self._templates.get(self._key_of(event.__dict__))
            if found is not None:
                return found
        return self._remember(event)

    def template_of(self, actor: str, name: str) -> FrameTemplate:
        """The frame template for events of ``actor`` on the concrete subject ``name``."""
        return (self._bases.get(actor) or self._bind(actor, name)).at(name)

    def actor(self, event: T) -> str:
        """Who acts: as the event says, else as the bus is configured."""
        # not getattr(): a missing attribute of a pydantic model costs more than the rest of a publish
        return event.__dict__.get("actor") or self._bus.actor

    def send_now(self, event: T, trace_id: str | None = None) -> bool:
        """Publish with the guarantee of the best-effort tier, without a task switch.

        False: dropped and counted, because the connection is away or its buffer full.

        Raises:
            SubjectError: the event is not of the subject's payload type.
            PayloadTooLarge: the event has more bytes than the server takes.
            AccessDenied: the server refused this subject within the last second.
            BusClosed: the bus was closed.
        """
        bus = self._bus
        template = self._templates.get(self._key_of(event.__dict__)) if type(event) is self._payload else None
        if template is None:
            template = self._remember(event)
        if bus.denials.recent:
            bus.denials.check("publish", template.subject)
        data = self.encode(event)
        frame = template.encode(data, trace_id or trace_id_for())
        try:
            sent = bus.lane.send_now(frame, len(data))
        except nats.errors.MaxPayloadError:
            raise PayloadTooLarge(_too_large(bus, template.subject, data)) from None
        except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError):
            raise BusClosed(f"{template.subject}: the bus is closed; the event was not sent") from None
        if sent:
            bus.counters.published[self._pattern] += 1
        else:
            bus.counters.publish_dropped[self._pattern] += 1
        return sent

    def _remember(self, event: T) -> FrameTemplate:
        """Make the template for events like this one."""
        name = self._subject.format(event)  # first, as it refuses what is no event of the subject
        template = self.template_of(self.actor(event), name)
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        self._templates[self._key_of(event.__dict__)] = template
        return template

    def _bind(self, actor: str, name: str) -> FrameTemplate:
        subject = self._subject
        if len(self._bases) >= _MAX_TEMPLATES:
            self._bases.clear()
        headers = {CONTENT_TYPE: JSON, SOURCE_REPO: subject.producer, SCHEMA: subject.schema_id, ACTOR: actor}
        base = self._bases[actor] = FrameTemplate(name, headers)
        return base


def _key(subject: Subject[Any]) -> Callable[[Mapping[str, Any]], Any]:
    """What reads from the fields of an event everything that its concrete subject and its actor depend on."""
    fields = [name for name in (*subject.parameters, FUND, "actor") if name in subject.payload.model_fields]
    return itemgetter(*dict.fromkeys(fields)) if fields else _nothing


def _nothing(_: Mapping[str, Any]) -> None:
    return None


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
