"""The durable consumers of every service, declared: what each one may read, and under which name.

On a secured bus services have no right to create consumers, because whoever may do that can have any stored message
delivered to any subject. The platform's administration creates them from these declarations (``mts1b streams
apply``), and the permissions of a service name its own durables one by one. On ``minimal`` services make their own.

Other packages declare theirs through the entry point group ``mts1b.consumers``. A service that makes up durables per
run cannot have that on a secured bus: NATS permissions match whole tokens, so a right to ``desk-*`` does not exist.
It declares a fixed set of durables instead, one per reader, and a new run resumes or resets them.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.contributions import ConsumerDeclaration

from mts1b_platform.eventbus.errors import ConsumeError
from mts1b_platform.eventbus.streams import STREAMS

MAX_ACK_PENDING: Final = 10_000
"""Most events of a durable that may be delivered and not settled at a time, over all its readers."""

Deliver = Literal["all", "new"] | datetime
"""Where a consumer that does not exist yet begins: at the first stored message, at the next one, or at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerDefinition(ConsumerDeclaration):
    """One durable as it shall be on the server.

    Attributes:
        deliver: where it begins when it is created: at the first stored message or at the next.
        ack_wait: seconds after which an event of a crashed reader is given to another.
    """

    deliver: Deliver = "all"
    ack_wait: float = 30.0


def reads(
    service: str,
    durable: str,
    *subjects: DurableSubject[Any],
    stream: str | None = None,
    deliver: Deliver = "all",
    ack_wait: float = 30.0,
) -> ConsumerDefinition:
    """Declare that ``service`` reads ``subjects`` under the name ``durable``.

    Args:
        service: the repo that reads.
        durable: the name on the server, unique within the stream.
        subjects: what is read; all of one stream.
        stream: where they are stored; found among the platform's own streams when left out.
        deliver: where it begins.
        ack_wait: seconds until an unanswered event is given to another reader.

    Raises:
        ConsumeError: no stream, or more than one, stores them.
    """
    filters = tuple(form for subject in subjects for form in subject.patterns)
    return ConsumerDefinition(
        service=service,
        durable=durable,
        stream=stream or _stream_of(durable, filters),
        filters=filters,
        deliver=deliver,
        ack_wait=ack_wait,
    )


def _stream_of(durable: str, filters: tuple[str, ...]) -> str:
    from mts1b_foundation.subjects.algebra import covers

    found = [each.name for each in STREAMS if all(covers(each.subjects, wanted) for wanted in filters)]
    if len(found) != 1:
        raise ConsumeError(
            f"durable {durable!r}: {', '.join(filters)} lie in no single stream of the platform: name one"
        )
    return found[0]
