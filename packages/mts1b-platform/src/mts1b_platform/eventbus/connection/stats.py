"""What a connection counts."""

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Counters of one connection, over all its reconnects."""

    in_msgs: int = 0
    """Messages that were delivered to a subscription."""
    in_bytes: int = 0
    """Their payloads."""
    out_msgs: int = 0
    """Messages that were given to the operating system."""
    out_bytes: int = 0
    """Bytes that were given to it, of messages with their protocol lines and headers, and of control lines."""
    reconnects: int = 0
    """Times that the connection stood again."""
    errors: int = 0
    """Error lines (``-ERR``) of the server."""
