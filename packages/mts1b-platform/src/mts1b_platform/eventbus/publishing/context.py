"""What publishing shares on one bus: the connection, the acks under way, a publisher for each subject."""

from collections.abc import Callable
from typing import Any

from mts1b_foundation.subjects import Subject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.arguments import check_subject
from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.hooks import ToldOfOne
from mts1b_platform.eventbus.publishing.ack_pipeline import AckPipeline
from mts1b_platform.eventbus.publishing.compiled_publisher import make_publisher
from mts1b_platform.eventbus.publishing.publisher import Publisher


class PublishContext:
    """Handed to every function that publishes."""

    __slots__ = ("_edge", "_publishers", "client", "pipeline", "told_of_one")

    def __init__(self, client: BusClient, pipeline: AckPipeline) -> None:
        self.client = client
        self.pipeline = pipeline
        """Durable publishes under way."""
        self.told_of_one = ToldOfOne(None)
        """Who is told of a best-effort publish, of the hooks that the bus had at the last one."""
        self._edge = f"{client.settings.edge}:" if client.settings.edge else None
        self._publishers: dict[str, Publisher[Any]] = {}

    def message_ids(self, subject: Subject[T]) -> Callable[[T], str | None]:
        """What gives events on ``subject`` their message ids; at an edge they begin with its name."""
        if self._edge is None:
            return subject.message_id
        return lambda event: self.own_id(subject.message_id(event))

    def own_id(self, msg_id: str | None) -> str | None:
        """A message id as it is sent: at an edge it begins with its name."""
        if self._edge is None or msg_id is None or msg_id.startswith(self._edge):
            return msg_id
        return self._edge + msg_id

    def publisher(self, subject: Subject[T]) -> Publisher[T]:
        """The publisher bound to ``subject`` on this bus; the same one each time.

        Raises:
            InvalidArgument: it is no registered subject.
            NotTheProducer: this process does not speak as the subject's producer.
        """
        try:
            return self._publishers[subject.pattern]
        except KeyError:
            made = self._publishers[subject.pattern] = make_publisher(self.client, subject)
            return made
        except AttributeError:
            check_subject(subject)
            raise
