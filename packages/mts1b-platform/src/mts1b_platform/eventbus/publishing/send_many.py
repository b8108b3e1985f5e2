"""Many events of one subject on their way out: what the pipelined and the atomic way of sending share."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, cast

from mts1b_foundation.subjects import DurableSubject

from mts1b_platform.eventbus.core import CORE, Drafts
from mts1b_platform.eventbus.events.outgoing import Ack, Draft
from mts1b_platform.eventbus.publishing.context import PublishContext

_CHUNK: Final = 64
_CHUNK_BYTES: Final = 128 * 1024

# Half the cost of calling the class; the stub is generic in a way that a cast cannot name.
make_ack: Final = cast("Callable[..., Ack]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


class SendMany:
    """One call of ``emit_many``.

    Args:
        context: the bus.
        subject: where the events go.
        deadline: seconds until the publish of one event, or of one atomic batch, gives up.
        window: most events under way at a time, when they are not sent as batches.
    """

    __slots__ = ("acks", "client", "context", "deadline", "latencies", "pattern", "subject", "window")

    def __init__(self, context: PublishContext, subject: DurableSubject[Any], *, deadline: float, window: int) -> None:
        self.context = context
        self.client = context.client
        self.subject = subject
        self.pattern = subject.pattern
        self.deadline = deadline
        self.window = window
        self.acks: list[Ack] = []
        """Of the events that are known to be stored, in their order; also after an error."""
        self.latencies: list[tuple[float, int]] = []
        """Seconds from sending to ack, and of how many events."""


def next_chunk(source: Iterator[Draft], most: int) -> list[Draft]:
    """The next few drafts, at most ``most``, that are handed to the connection together."""
    if CORE is not None and isinstance(source, CORE.Drafts):
        return cast("Drafts", source).chunk(min(most, _CHUNK), _CHUNK_BYTES)
    taken: list[Draft] = []
    size = 0
    for draft in islice(source, min(most, _CHUNK)):
        taken.append(draft)
        size += len(draft[1])
        if size > _CHUNK_BYTES:
            break
    return taken
