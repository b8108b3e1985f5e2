"""From a typed event to the template of its frame: concrete subject and static headers, encoded once.

What an event's concrete subject and actor are made of (its key) finds a frame template that is ready for both. The
cost of an event therefore grows neither with the number of subjects nor with that of funds or symbols.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final, Generic

from mts1b_foundation.subjects import Subject, registry
from mts1b_foundation.subjects.subject import FUND, T

from mts1b_platform.eventbus.codec.payload import encoder
from mts1b_platform.eventbus.errors import NotTheProducer
from mts1b_platform.eventbus.protocol.envelope import static_headers
from mts1b_platform.eventbus.protocol.frames import FrameTemplate

_MAX_TEMPLATES: Final = 16_384


class EventEncoder(Generic[T]):
    """Encodes the events of ``subject``.

    Args:
        subject: what is published.
        actor: who acts when an event does not say.
        service: who publishes; without one the producer of each event.
    """

    __slots__ = ("_actor", "_bases", "_service", "_subject", "encode", "key_fields", "key_of", "payload", "templates")

    def __init__(self, subject: Subject[T], actor: str, service: str | None = None) -> None:
        self._subject = subject
        self._service = service or subject.producer
        self._actor = actor
        self._bases: dict[str, FrameTemplate] = {}
        self.payload = subject.payload
        self.key_fields = _key_fields(subject)
        """The fields that an event's template depends on."""
        self.key_of: Callable[[Mapping[str, Any]], Any] = itemgetter(*self.key_fields) if self.key_fields else _nothing
        """Reads their values: one, or a tuple of several."""
        self.templates: dict[Any, FrameTemplate] = {}
        """By key: the templates of the events seen so far."""
        self.encode = encoder(subject.payload)
        """Writes an event as JSON."""

    def template(self, event: T) -> FrameTemplate:
        """The frame template for ``event``.

        Raises:
            SubjectError: the event is not of the subject's payload type.
        """
        if type(event) is self.payload:
            found = self.templates.get(self.key_of(event.__dict__))
            if found is not None:
                return found
        return self.remember(event)

    def template_of(self, actor: str, name: str) -> FrameTemplate:
        """The frame template for events of ``actor`` on the concrete subject ``name``."""
        return (self._bases.get(actor) or self._base(actor, name)).at(name)

    def actor(self, event: T) -> str:
        """Who acts: as the event says, else the default."""
        # not getattr(): a missing attribute of a pydantic model costs more than the rest of a publish
        return event.__dict__.get("actor") or self._actor

    def remember(self, event: T) -> FrameTemplate:
        """Make the template for events like this one.

        Raises:
            SubjectError: the event is not of the subject's payload type.
            NotTheProducer: another service publishes on the event's concrete subject.
        """
        name = self._subject.format(event)  # first, as it refuses what is no event of the subject
        if (owner := registry().producer_of(self._subject, name)) != self._service:
            raise NotTheProducer(f"{name} is published by {owner} alone, and this process speaks as {self._service}")
        template = self.template_of(self.actor(event), name)
        if len(self.templates) >= _MAX_TEMPLATES:
            self.templates.clear()
        self.templates[self.key_of(event.__dict__)] = template
        return template

    def _base(self, actor: str, name: str) -> FrameTemplate:
        subject = self._subject
        if len(self._bases) >= _MAX_TEMPLATES:
            self._bases.clear()
        headers = static_headers(source_repo=self._service, schema=subject.schema_id, actor=actor)
        base = self._bases[actor] = FrameTemplate(name, headers)
        return base


def _key_fields(subject: Subject[Any]) -> tuple[str, ...]:
    fields = [name for name in (*subject.parameters, FUND, "actor") if name in subject.payload.model_fields]
    return tuple(dict.fromkeys(fields))


def _nothing(_: Mapping[str, Any]) -> None:
    return None
