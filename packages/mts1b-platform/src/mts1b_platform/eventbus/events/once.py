"""What handles an event once: the interface that every dedupe store implements."""

from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

Tx_co = TypeVar("Tx_co", covariant=True)
Tx_contra = TypeVar("Tx_contra", contravariant=True)


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


class Term(NamedTuple):
    """A time in office of one of several instances of a reader."""

    durable: str
    """Stream and durable that it reads."""
    number: int
    """Greater than that of every instance before."""


@runtime_checkable
class Marks(Protocol[Tx_contra]):
    """A store whose transaction can hold the marks of several events, which are done together or not at all."""

    async def mark(self, tx: Tx_contra, consumer: str, key: str) -> None:
        """Mark ``key`` as well in ``tx``, which :meth:`DedupeStore.once` opened for an event before it.

        Raises:
            AlreadyDone: ``consumer`` has handled ``key``; ``tx`` is as it was.
            StoreMisused: ``tx`` is no open transaction.
        """
        ...


@runtime_checkable
class Fences(Protocol[Tx_co]):
    """A store that refuses an instance after another has taken over."""

    def once_in_term(self, consumer: str, key: str, term: Term) -> AbstractAsyncContextManager[Tx_co]:
        """As ``once``, when ``term`` is the greatest that the store knows; a transaction holds so to its end.

        Raises:
            Superseded: it knows a greater one; nothing was written.
        """
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
