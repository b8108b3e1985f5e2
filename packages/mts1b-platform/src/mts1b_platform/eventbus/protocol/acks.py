"""What a consumer says about a delivery; in bytes, sans-io."""

from typing import Final

from mts1b_platform.eventbus.protocol.frames import pub_frame

ACK_SIZE: Final = 4
ACK_FRAME: Final = b"PUB %b 4\r\n+ACK\r\n"
"""Where to, as bytes, makes it a frame: done, the message is not delivered to this consumer again."""


def again_in(seconds: float) -> bytes:
    """What is said for: not done, deliver it again in so many seconds."""
    return b'-NAK {"delay":%d}' % int(seconds * 1e9) if seconds > 0 else b"-NAK"


def nak_frame(reply: bytes, delay: float = 0.0) -> bytes:
    """Not done: deliver it again, ``delay`` seconds from now."""
    return pub_frame(reply, again_in(delay))


def term_frame(reply: bytes, reason: str = "") -> bytes:
    """Never deliver it again, for this reason; the server puts it into its advisory."""
    return pub_frame(reply, f"+TERM {reason}".strip().encode())


def progress_frame(reply: bytes) -> bytes:
    """Still at work: the ack wait starts anew."""
    return pub_frame(reply, b"+WPI")
