"""Where a stream holds a message: read from the subject that its acknowledgement goes to.

JetStream writes ``$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<consumer seq>.<time>.<pending>``; newer forms put
the domain and an account hash before the stream and may add a token at the end.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self, cast

from mts1b_foundation.errors import Mts1bError

_SHORT: Final = 9
_LONG: Final = 11
_NANOSECONDS: Final = 19
"""Digits of a moment until the year 2286, and more than those of any count."""


class NotJetStream(Mts1bError, ValueError):
    """The reply subject is none that JetStream writes."""


MessageKey = tuple[int, int]
"""Sequence and storing time: names one message of a stream, also when the stream's sequences go back."""


class Position(NamedTuple):
    """Where a stream holds a message, and how often this consumer was given it."""

    stream: str
    consumer: str
    deliveries: int
    """1 for the first delivery."""
    seq: int
    """Sequence in the stream."""
    consumer_seq: int
    """Number of this delivery, counted over everything that the consumer was given."""
    stored_at: int
    """When the stream stored it, in nanoseconds since 1970 UTC."""
    pending: int
    """How many matching messages the stream holds behind it."""

    @property
    def timestamp(self) -> datetime:
        """When the stream stored it, UTC, to the microsecond."""
        seconds, nanoseconds = divmod(self.stored_at, 1_000_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)

    @property
    def key(self) -> MessageKey:
        """Names the message: a sequence alone does not.

        A stream that was made again, or whose store was restored from a backup, gives sequences out a second time.
        """
        return self.seq, self.stored_at

    @classmethod
    def of(cls, reply: bytes) -> Self:
        """The position that the reply subject of a delivery tells.

        Raises:
            NotJetStream: it is no reply subject of JetStream.
        """
        tokens = reply.split(b".")
        if len(tokens) >= _LONG:
            del tokens[2:4]  # domain and account hash
        if len(tokens) < _SHORT or tokens[0] != b"$JS" or tokens[1] != b"ACK":
            raise NotJetStream(f"reply subject {reply[:120]!r} is not that of a JetStream delivery")
        try:
            _, _, stream, consumer, deliveries, seq, consumer_seq, stored_at, pending, *_ = tokens
            return _MAKE(
                cls,
                (
                    _name(stream),
                    _name(consumer),
                    int(deliveries),
                    int(seq),
                    int(consumer_seq),
                    int(stored_at),
                    int(pending),
                ),
            )
        except ValueError as error:
            raise NotJetStream(f"reply subject {reply[:120]!r} has a count that is no number") from error


def stored_at(reply: bytes) -> int:
    """:attr:`Position.stored_at` alone, at a quarter of the cost.

    Raises:
        NotJetStream: as :meth:`Position.of`.
    """
    last = reply.rsplit(b".", 2)
    if len(last) == 3 and len(last[1]) == _NANOSECONDS and last[1].isdigit():
        return int(last[1])
    return Position.of(reply).stored_at


def first_delivery(stream: str, consumer: str, *, like: bytes = b"") -> bytes:
    """How the reply subject of each first delivery of ``consumer`` begins; with domain and account where ``like`` has.

    Args:
        stream: its stream.
        consumer: its name.
        like: the reply subject of a delivery of that server, if known.
    """
    tokens = like.split(b".")
    where = tokens[2:4] if len(tokens) >= _LONG else []
    return b".".join([b"$JS", b"ACK", *where, stream.encode(), consumer.encode(), b"1", b""])


# Half the cost of calling the class; its stub is generic in a way that a cast cannot name.
_MAKE: Final = cast("Any", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]
_name: Final = lru_cache(maxsize=1024)(bytes.decode)
