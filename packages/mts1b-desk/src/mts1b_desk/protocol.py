"""Requests and replies between the services of a desk.

Every service registers with NATS's service protocol as ``mts1b-desk-<service>`` and answers on
``svc.v1.<service>.<endpoint>``. Nothing of this is part of the event bus's contract; events alone carry the trading.
"""

from typing import Literal

from mts1b_foundation.event import Identifier, Symbol, UtcDatetime
from mts1b_foundation.marketdata import BarV2, Interval, QuoteV2
from pydantic import BaseModel, ConfigDict

SERVICES = ("operations", "riskengine", "oms", "brokers", "treasury", "research", "marketdata")
"""All services of a desk, in the order in which they start: who listens before who speaks."""

PAGE = 400
"""Most items in one answer, so that it stays well below the server's payload limit."""


def endpoint(service: str, name: str) -> str:
    """The subject that the endpoint ``name`` of a service answers on."""
    return f"svc.v1.{service}.{name}"


def micro_name(service: str) -> str:
    """The name under which a service registers."""
    return f"mts1b-desk-{service}"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class Durable(_Document):
    """A consumer of a service."""

    stream: str
    name: str
    handled: int | None = None
    """How many of its deliveries are handled; None where they are acknowledged, which the server counts."""


class Status(_Document):
    """How a service is doing."""

    service: str
    session: Identifier
    pid: int
    ready: bool
    """Whether it reads everything that it is meant to read."""
    closed: bool
    """Whether it has worked the end of the session, and all market data before."""
    idle: bool
    """Whether it waits for nothing but events."""
    published: dict[str, int] = {}
    """Events by the pattern of their subject."""
    consumed: dict[str, int] = {}
    position: int = 0
    """Last quote or bar of the feed that was worked (marketdata: published)."""
    gaps: int = 0
    """Holes in the feed that were filled by retransmission."""
    market_time: UtcDatetime | None = None
    durables: tuple[Durable, ...] = ()


class Progress(_Document):
    """How far a reader is, for the pace of a replay at full speed."""

    quotes: int | None = None
    bars: int | None = None
    signals: int | None = None
    """Signals published (research) or taken up (oms)."""
    waiting: int = 0
    """Signals that wait for a working order."""
    finished: int = 0
    """Orders that are final."""


class RetransmitRequest(_Document):
    """Quotes or bars again, by their positions in the feed; the answer may hold fewer than asked for."""

    session: Identifier
    kind: Literal["quotes", "bars"]
    interval: Interval | None = None
    first: int
    last: int


class HistoryRequest(_Document):
    """Quotes of one symbol at or after a time and behind a position of the feed, oldest first."""

    session: Identifier
    symbol: Symbol
    since: UtcDatetime
    after: int = 0
    known: int = 0
    """How far whoever asks is with the feed: an answer by who is not that far would leave quotes out."""


class HoldRequest(_Document):
    """Accept no order until the halt ``halt_id``, which is about to be stored, has come; or a short time is over."""

    halt_id: Identifier


class Held(_Document):
    """No order will be accepted before the halt or for so many seconds; what was accepted before is in its stream."""

    halt_id: Identifier
    seconds: float


class Quotes(_Document):
    """Quotes, in the order of the feed."""

    items: tuple[QuoteV2, ...]


class Bars(_Document):
    """Bars, in the order of the feed."""

    items: tuple[BarV2, ...]
