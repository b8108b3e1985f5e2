"""Where a stream holds a message: read from the subject that its acknowledgement goes to.

JetStream writes ``$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<consumer seq>.<time>.<pending>``; newer forms put
the domain and an account hash before the stream and may add a token at the end.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_SHORT: Final = 9
_LONG: Final = 11


class NotJetStream(ValueError):
    """The reply subject is none that JetStream writes."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream holds a message, and how often this consumer was given it (the first time is 1)."""

    stream: str
    seq: int
    consumer: str
    deliveries: int
    stored_at: int
    """When the stream stored it, in nanoseconds since 1970 UTC."""
    pending: int
    """How many matching messages the stream holds behind it."""

    @property
    def timestamp(self) -> datetime:
        """When the stream stored it, UTC, to the microsecond."""
        seconds, nanoseconds = divmod(self.stored_at, 1_000_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)

    @classmethod
    def of(cls, reply: bytes) -> "Position":
        """The position that the reply subject tells.

        Raises:
            NotJetStream: it is no reply subject of JetStream.
        """
        tokens = reply.decode().split(".")
        if len(tokens) == _SHORT:
            tokens = tokens[2:]
        elif len(tokens) >= _LONG:
            tokens = tokens[4:]
        else:
            raise NotJetStream(f"{reply!r} is no reply subject of JetStream")
        stream, consumer, deliveries, seq, _, stored_at, pending, *_ = tokens
        return cls(stream, int(seq), consumer, int(deliveries), int(stored_at), int(pending))
