"""What a consumer says about a delivery, and what the delivery says about itself; in bytes, sans-io."""

from typing import Final, NamedTuple

from mts1b_foundation.errors import Mts1bError

from mts1b_platform.eventbus.wire import pub_frame

ACK_SIZE: Final = 4
_V1_TOKENS: Final = 9
_V2_TOKENS: Final = 11


class NotADelivery(Mts1bError, ValueError):
    """A message does not come from a JetStream consumer."""


class Delivery(NamedTuple):
    """What JetStream wrote into the reply subject of a delivery."""

    stream: str
    consumer: str
    num_delivered: int
    """1 for the first delivery."""
    stream_seq: int
    consumer_seq: int
    timestamp_ns: int
    """When the message was stored, nanoseconds since 1970 UTC."""
    num_pending: int
    """Messages behind this one that match the consumer's filter."""


def delivery_of(reply: bytes) -> Delivery:
    """Read the reply subject of a delivery.

    Raises:
        NotADelivery: it is not one of JetStream's.
    """
    tokens = reply.split(b".")
    if len(tokens) >= _V2_TOKENS:
        del tokens[2:4]  # domain and account hash
    if len(tokens) < _V1_TOKENS or tokens[0] != b"$JS" or tokens[1] != b"ACK":
        raise NotADelivery(f"reply subject {reply[:120]!r} is not that of a JetStream delivery")
    try:
        numbers = [int(token) for token in tokens[4:9]]
        return Delivery(tokens[2].decode(), tokens[3].decode(), *numbers)
    except ValueError as error:
        raise NotADelivery(f"reply subject {reply[:120]!r} has a count that is no number") from error


def ack_frame(reply: bytes) -> bytes:
    """Done: the message is not delivered to this consumer again."""
    return b"PUB %b 4\r\n+ACK\r\n" % reply


def nak_frame(reply: bytes, delay: float = 0.0) -> bytes:
    """Not done: deliver it again, ``delay`` seconds from now."""
    return pub_frame(reply, b'-NAK {"delay":%d}' % int(delay * 1e9) if delay > 0 else b"-NAK")


def term_frame(reply: bytes, reason: str = "") -> bytes:
    """Never deliver it again, for this reason; the server puts it into its advisory."""
    return pub_frame(reply, f"+TERM {reason}".strip().encode())


def progress_frame(reply: bytes) -> bytes:
    """Still at work: the ack wait starts anew."""
    return pub_frame(reply, b"+WPI")
