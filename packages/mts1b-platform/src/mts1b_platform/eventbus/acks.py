"""What a consumer says about a delivery; in bytes, sans-io."""

from typing import Final

from mts1b_platform.eventbus.wire import pub_frame

ACK_SIZE: Final = 4


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
