"""What this package keeps on the bus for its dead-letter mover: the stream of the server's advisories, and a durable.

Declarations alone: every check and every tool loads them, so that they import neither the client nor the mover.
"""

from typing import Final

from mts1b_platform.eventbus.consumers import ConsumerDefinition
from mts1b_platform.eventbus.streams import StreamDefinition, Volume

_PREFIX: Final = "$JS.EVENT.ADVISORY.CONSUMER"

ADVISORIES: Final = StreamDefinition(
    name="ADVISORIES",
    subjects=(f"{_PREFIX}.MAX_DELIVERIES.>", f"{_PREFIX}.MSG_TERMINATED.>"),
    description="Messages that the server or a raw consumer gave up on; the dead-letter mover reads it.",
    max_age="30d",
    volume=Volume(5_000, 800),
)
STREAMS: Final = (ADVISORIES,)
"""What this package adds to the streams of the bus (entry point ``mts1b.streams``)."""

DURABLE: Final = "deadletter-mover"
CONSUMERS: Final = (
    ConsumerDefinition(
        service="mts1b-operations", durable=DURABLE, stream=ADVISORIES.name, filters=ADVISORIES.subjects
    ),
)
"""What this package reads (entry point ``mts1b.consumers``); on a secured bus the administration creates it."""
