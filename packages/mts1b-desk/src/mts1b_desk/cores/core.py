"""What every core is: tables of state, and a handler per subject that returns effects.

A core never reads a clock: market time comes with the data, the time of an operator's request with the request, and
``at`` is the time at which the stream stored the event. Handling the same events in the same order therefore gives the
same effects with the same ids, however often it is done and whatever was killed in between.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from mts1b_foundation.event import Event
from mts1b_foundation.marketdata import QuoteV2
from mts1b_foundation.subjects import DurableSubject, Subject
from pydantic import BaseModel

from mts1b_desk.money import exactly
from mts1b_desk.tables import Change, Table


@dataclass(frozen=True, slots=True)
class Emit:
    """Publish ``payload`` on ``subject``; ``msg_id`` when the subject's own key would repeat between sessions."""

    subject: DurableSubject[Any]
    payload: Event
    msg_id: str | None = None


@dataclass(frozen=True, slots=True)
class NeedQuotes:
    """An order needs quotes that are no longer at hand.

    Those of ``symbol`` at or after the time ``since`` and behind ``after``, a position among the quotes of all symbols.
    """

    order_id: str
    symbol: str
    since: datetime
    after: int = 0


Effect = Emit | NeedQuotes
Effects = Sequence[Effect]
Handler = Callable[[Any, datetime], Effects]


class Core:
    """Base of the services' cores. Subclasses set ``tables`` and ``handlers`` when they are made."""

    service: ClassVar[str]
    """Name of the service on the command line, such as ``oms``."""
    repo: ClassVar[str]
    """The repo it speaks as, such as ``mts1b-oms``."""

    tables: tuple[Table[Any], ...] = ()
    handlers: Mapping[Subject[Any], Handler]

    def handle(self, subject: Subject[Any], payload: Event, at: datetime) -> Effects:
        """The effects of one event; arithmetic inside is exact.

        Raises:
            KeyError: when the core has no handler for ``subject``.
        """
        with exactly():
            return self.handlers[subject](payload, at)

    def start(self) -> Effects:
        """Effects before the first event."""
        return ()

    def book(self) -> BaseModel | None:
        """What the core tells of its state; None when it keeps no books."""
        return None

    def changes(self) -> list[Change]:
        """What changed in the state since the last call."""
        return [change for table in self.tables for change in table.changes()]

    def note_no_changes(self) -> None:
        """Nobody stores what changes."""
        for table in self.tables:
            table.note_no_changes()

    def restore(self, rows: Mapping[str, Sequence[tuple[str, bytes]]]) -> None:
        """Start from stored rows, by name of their table."""
        for table in self.tables:
            table.load(rows.get(table.name, ()))

    @property
    def idle(self) -> bool:
        """Whether the core waits for nothing but new input from outside the desk."""
        return True


class QuoteCore(Core):
    """Base of the cores that work every quote of the feed, in its order."""

    def on_quote(self, quote: QuoteV2) -> Effects:
        """What follows from the next quote."""
        raise NotImplementedError
