"""One message as it came off the wire: bytes, nothing decoded."""

from typing import NamedTuple

from mts1b_platform.eventbus.protocol.headers import Headers


class WireMsg(NamedTuple):
    """One message as it came off the wire; nothing is decoded until asked."""

    subject: bytes
    reply: bytes
    head: bytes
    """The header block from ``NATS/1.0`` to its empty line; empty for a message without headers."""
    payload: bytes

    @property
    def headers(self) -> Headers:
        """The headers, case-insensitive and lazily parsed; keep the object when you look up several."""
        return Headers(self.head)

    @property
    def is_status(self) -> bool:
        """Whether the server speaks (404, 408, 503 …) rather than a publisher."""
        return self.head[8:9] == b" "


RawMsg = tuple[bytes, bytes, bytes, bytes]
"""A message as the parser collects it: what :class:`WireMsg` names, and naming it would cost a tenth more.

The compiled core's messages stand for such a tuple: they unpack into it and equal it."""
