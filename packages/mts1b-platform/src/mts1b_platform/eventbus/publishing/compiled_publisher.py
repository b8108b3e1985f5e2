"""A publisher whose best-effort events go from the model to the connection's buffer inside the compiled core."""

from functools import partial
from typing import Any

from mts1b_foundation.subjects import Subject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.codec.payload import plan_of
from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.core import CORE, Core, OutBuffer, Plan
from mts1b_platform.eventbus.events.trace import trace_id_for
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from mts1b_platform.eventbus.publishing.publisher import Publisher


class CompiledPublisher(Publisher[T]):
    """:class:`Publisher`; what the compiled core leaves, it does."""

    __slots__ = ("send_volatile",)

    def __init__(self, client: BusClient, subject: Subject[T], core: Core, plan: Plan, buffer: OutBuffer) -> None:
        super().__init__(client, subject)
        self.send_volatile = core.Sender(
            pure=partial(Publisher[Any].send_volatile, self),
            trace_id_for=trace_id_for,
            buffer=buffer,
            plan=plan,
            templates=self.encoder.templates,
            template=FrameTemplate,
            names=self.encoder.key_fields,
            denials=client.denials,
            published=client.counters.published,
            pattern=subject.pattern,
        ).send_volatile


def make_publisher(client: BusClient, subject: Subject[T]) -> Publisher[T]:
    """A publisher of the form that is at work.

    Raises:
        NotTheProducer: the bus does not speak as the subject's producer.
    """
    plan, buffer = plan_of(subject.payload), client.connection.buffer
    if CORE is None or plan is None or buffer is None:
        return Publisher(client, subject)
    return CompiledPublisher(client, subject, CORE, plan, buffer)
