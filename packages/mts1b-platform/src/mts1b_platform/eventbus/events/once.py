"""What handles an event once: the interface that every dedupe store implements."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar, runtime_checkable

Tx_co = TypeVar("Tx_co", covariant=True)


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


@runtime_checkable
class Opens(Protocol):
    """A store that can be opened before its first event; ``Service`` does so when it starts."""

    async def open(self) -> None:
        """Open the store.

        Raises:
            StoreError: it cannot be used.
        """
        ...
