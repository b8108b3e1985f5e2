"""A publisher bound to one subject: its header blocks stand ready, publishing splices in what is new.

``bus.emit`` uses one; a loop that publishes many best-effort events of one subject may hold it itself::

    quotes = bus.publisher(MARKETDATA_QUOTES)
    if not quotes.send_volatile(quote):      # no connection, or no room: dropped and counted
        ...
"""

from typing import Any, Generic

from mts1b_foundation.subjects import Subject, registry
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.codec.encoder import EventEncoder
from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.errors import BusError, NotTheProducer
from mts1b_platform.eventbus.events.trace import trace_id_for
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.publishing.failures import publish_error


class Publisher(Generic[T]):
    """Publishes the events of ``subject`` in the name of the bus's service.

    Raises:
        NotTheProducer: the bus does not speak as the subject's producer.
    """

    __slots__ = ("_client", "_denials", "_dropped", "_encode", "_key_of", "_pattern", "_payload", "_published", "_send",
                 "_templates", "encoder")  # fmt: skip

    def __init__(self, client: BusClient, subject: Subject[T]) -> None:
        if subject.producer != client.service and not registry().publishes(client.service, subject):
            raise NotTheProducer(_not_the_producer(client, subject))
        self._client = client
        self._pattern = subject.pattern
        self.encoder = EventEncoder(subject, client.actor, client.service)
        self._send = client.connection.send_volatile
        # what the hot path looks at, without a further step
        self._denials = client.denials
        self._published = client.counters.published
        self._dropped = client.counters.publish_dropped
        self._encode = self.encoder.encode
        self._payload = self.encoder.payload
        self._key_of = self.encoder.key_of
        self._templates = self.encoder.templates

    def send_volatile(self, event: T, trace_id: str | None = None) -> bool:
        """Publish with the guarantee of the best-effort tier, without a task switch.

        Returns False when the event was dropped and counted, because there is no connection or its buffer is full.

        Raises:
            SubjectError: the event is not of the subject's payload type.
            InvalidHeader: ``trace_id`` cannot go on the wire.
            PayloadTooLarge: the event has more bytes than the server takes.
            AccessDenied: the server refused this subject within the last second.
            BusClosed: the bus was closed.
        """
        template = self._templates.get(self._key_of(event.__dict__)) if type(event) is self._payload else None
        if template is None:
            template = self.encoder.remember(event)
        if self._denials.recent:
            self._denials.check("publish", template.subject)
        data = self._encode(event)
        try:
            sent = self._send(template.encode(data, trace_id or trace_id_for()))
        except (BusError, HeaderError) as error:
            raise publish_error(self._client, template.subject, len(data), error) from None
        if sent:
            self._published[self._pattern] += 1
        else:
            self._dropped[self._pattern] += 1
        return sent


def _not_the_producer(client: BusClient, subject: Subject[Any]) -> str:
    remedy = f"set MTS1B_SERVICE={subject.producer} or connect(service={subject.producer!r})"
    if client.settings.service is None:
        return f"{subject.pattern}: this process has not said as whom it speaks; {remedy}"
    return (
        f"{subject.pattern} is published by {subject.producer} alone, and this process speaks as {client.service}; "
        f"publish on a subject of {client.service}, or {remedy}"
    )
