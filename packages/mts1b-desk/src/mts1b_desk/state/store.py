"""What a service asks of the database that holds its state.

One transaction holds whatever belongs together: the mark of the event that was handled, the rows of the core that
changed, how far the feed was worked, and the events to publish. So a service that is killed at any moment goes on from
a state in which each event was handled wholly or not at all, and what was to be published still is.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from mts1b_platform.eventbus import Event
from mts1b_platform.eventbus.outbox import Outbox

from mts1b_desk.cores.core import Emit
from mts1b_desk.tables import Change

Rows = Mapping[str, Sequence[tuple[str, bytes]]]
"""Stored rows by the name of their table, in the order in which they were first stored."""


class Store(Protocol):
    """The state of one service of one session."""

    keeps: bool
    """Whether the rows outlive the process; otherwise nobody needs to write them."""

    @property
    def waiting(self) -> Outbox:
        """The events that are stored and not published yet, as a relay reads them."""
        ...

    async def connect(self) -> None:
        """Open it, making what is missing; nothing when it is open.

        Raises:
            StoreError: the database cannot be used.
        """
        ...

    async def open(self) -> Rows:
        """Open it, and read everything that is stored of this session.

        Raises:
            StoreError: the database cannot be used.
        """
        ...

    async def backlog(self) -> int:
        """How many events wait to be published."""
        ...

    def once(self, event: Event[Any]) -> AbstractAsyncContextManager[Any]:
        """A transaction that handles ``event``; raises ``AlreadyDone`` when one before did."""
        ...

    async def mark(self, tx: Any, event: Event[Any]) -> None:
        """Handle ``event`` too in ``tx``, which :meth:`once` opened; raises ``AlreadyDone`` when one before did."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction for what no stored event asked for."""
        ...

    async def read(self, tx: Any, table: str, key: str, *, alone: bool = False) -> bytes | None:
        """One row as it is; in ``tx`` no other changes it before that ends, nor with ``alone`` reads it so."""
        ...

    async def write(self, tx: Any, changes: Sequence[Change], emits: Sequence[tuple[Emit, str | None]]) -> None:
        """Store rows, and events to publish with their trace ids, in the transaction ``tx``."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...
