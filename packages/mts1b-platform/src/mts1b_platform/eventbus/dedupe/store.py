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

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

Tx_co = TypeVar("Tx_co", covariant=True)

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
        if self.keep <= 0 or self.limit < 1:
            raise ValueError(f"{self}: a store that remembers nothing dedupes nothing; give keep > 0 and limit >= 1")


class DedupeStore(Protocol[Tx_co]):
    """Remembers which events a consumer has handled."""

    def once(self, consumer: str, key: str) -> AbstractAsyncContextManager[Tx_co]:
        """Enter the block unless ``consumer`` has handled ``key``; leaving it well makes that so.

        Leaving it by an exception undoes what was written on the transaction and sets no mark. Two that enter with
        the same key at the same time: the second waits for the first.

        Raises:
            AlreadyDone: the block is not entered, as it was left well before.
            Retry: somebody else has been at it for long; try again later.
            StoreError: the store cannot be used; nothing was marked.
        """
        ...

    async def close(self) -> None:
        """Close what the store opened by itself; marks stay."""
        ...
