"""A recorded message as it is published again. Pure.

Subject, payload, envelope and message id stay as they were, so that consumers and streams recognise it. Left out are
the headers by which a publisher tells a server what to do (batches, expectations, schedules, purges by roll-up): they
were meant for the bus that the message was recorded on.
"""

from typing import Final

from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope import MSG_ID

REPLAYED: Final = "mts-replayed-from"
"""On a replayed message: stream and sequence that it was recorded from, or ``live``, and when."""

_FOR_SERVERS: Final = b"nats-"
_KEPT: Final = MSG_ID.lower().encode()


def head_of(recorded: Recorded) -> bytes:
    """The header block that a recorded message is published with."""
    head = recorded.wire.head
    lines = head[:-4].split(b"\r\n")[1:] if head else []
    kept = [line for line in lines if not _tells_the_server(line) and not line.lower().startswith(REPLAYED.encode())]
    place = f"{recorded.stream}:{recorded.seq}" if recorded.seq else "live"
    mark = f"{REPLAYED}: {place} {recorded.stamp}".encode()
    return b"\r\n".join([b"NATS/1.0", *kept, mark, b"", b""])


def _tells_the_server(line: bytes) -> bool:
    name = line.partition(b":")[0].strip().lower()
    return name.startswith(_FOR_SERVERS) and name != _KEPT
