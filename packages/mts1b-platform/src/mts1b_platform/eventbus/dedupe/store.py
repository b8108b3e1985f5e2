"""What every dedupe store promises, in one small interface.

===========  =========================  ====================================================================
store        effect                     after a crash
===========  =========================  ====================================================================
SQLite       exactly once               effect and mark are one transaction: both are there, or neither
PostgreSQL   exactly once               the same
NATS KV      at least once              between effect and mark the effect is repeated; see ``dedupe.kv``
===========  =========================  ====================================================================

"Exactly once" speaks of effects written on the transaction that the store hands out. What a handler does elsewhere
(a call to a broker, an event that it emits) is repeated when it crashes before the commit; emit through an outbox.
"""

from dataclasses import dataclass

from mts1b_platform.eventbus.limits import check_count, check_seconds

DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How long and how many handled events a store remembers. An event it has forgotten is handled again.

    Attributes:
        keep: seconds that a mark is kept; at least as long as the stream keeps its events (7 days for order intents),
            so that a replay of all that is stored changes nothing.
        limit: most marks over all consumers of the store; the oldest are forgotten first.
    """

    keep: float = 8 * DAY
    limit: int = 5_000_000

    def __post_init__(self) -> None:
        check_seconds("keep", self.keep)
        check_count("limit", self.limit)
