"""Events: in a list, opened, and as the story of an order, a trace or a halt."""

from typing import Literal

from pydantic import Field

from mts1b_console.shapes.base import Answer, Document, Instant, Shape


class Refusal(Shape):
    """Why a strict consumer refuses an event."""

    reason: str
    """``schema_mismatch``, ``invalid_payload``, ``unexpected_subject`` …"""
    why: str
    wanted: str | None
    """The schema that the subject carries; null when nobody registered it."""
    got: str | None
    """The schema that the event says it has."""


class EventRow(Shape):
    """An event in a list."""

    id: str
    """``OMS_ORDERS:12044``; for one that was heard as it passed ``live:<row>``."""
    t: Instant
    """When its stream stored it; for a live one, when it was heard."""
    stream: str | None
    seq: int | None
    subject: str
    pattern: str | None
    """The registered subject; null when nobody registered it."""
    by: str
    """The repo that says it published it."""
    actor: str
    schema_id: str
    summary: str
    """One line; of a refused event, why it is refused."""
    keys: dict[str, str]
    """What it is about: ``order_id``, ``signal_id``, ``halt_id`` …"""
    fund: str | None
    trace: str | None
    refused: Refusal | None
    size: int
    """Bytes of the payload."""


ReaderStateName = Literal["handled", "gave up", "under way", "waiting", "before its time"]


class ReaderState(Shape):
    """What a durable has done with one event."""

    durable: str
    service: str | None
    state: ReaderStateName
    reached: int
    """The last sequence that it was given."""
    behind: int
    unsettled: int
    redelivered: int
    pulls: int
    """Pulls that wait on the server: 0 when nobody is there to read."""
    last_active: Instant | None
    paused: bool
    lag_seconds: float


class EventOpened(Answer):
    """One event, whole."""

    event: EventRow
    payload_text: str
    """The payload as it was published, at most 256 kB of it. The browser parses it, so that no digit is lost here."""
    truncated: bool
    """Whether the payload is longer than that."""
    headers: dict[str, str]
    model: Document | None
    """The JSON Schema of the payload that its subject carries."""
    readers: list[ReaderState] | None
    """Which durables have handled it; null when this person may not know, or it was never stored."""


class Searched(Shape):
    """How far a search came. What it found is complete down to ``back_to``."""

    how: Literal["search", "index"]
    looked_at: int
    of: int
    complete: bool
    back_to: Instant | None
    streams: list[str]
    skipped: dict[str, str]
    """Streams that were not looked at, and why."""


class QueryProblem(Shape):
    """What could not be understood in a query."""

    at: int
    words: str


class EventsFound(Answer):
    """``GET /api/events``: newest first."""

    query: str
    """The query as it was understood."""
    problems: list[QueryProblem] = Field(default_factory=list[QueryProblem])
    events: list[EventRow] | None = None
    searched: Searched | None = None
    cursor: str | None = None
    """Give it as ``cursor`` to search on from where this search stopped; null when everything was searched."""


class OrderFacts(Shape):
    """An order as it stands. Amounts are decimal digits."""

    order_id: str
    status: str
    is_final: bool
    side: str
    quantity: str
    filled: str
    symbol: str
    fund: str
    actor: str
    kind: str
    """``market`` or ``limit 64000``, with the time in force."""
    broker: str
    why: str | None
    """Why it was rejected or canceled."""


class StoryEvent(Shape):
    """An event in a story."""

    event: EventRow
    after_ms: float | None
    """Since the event before; null for the first."""
    linked_by: list[str]
    """By what it belongs to the story: ``order_id``, ``trace_id``, ``signal_id``."""
    readers: list[ReaderState] | None


MissingKind = Literal[
    "gave_up", "no_reader", "nobody_reads", "paused", "behind", "under_way", "nothing_came", "unknown"
]


class Missing(Shape):
    """A step that should have come and did not."""

    after: str
    """The event that it should follow, ``OMS_ORDERS:12044``."""
    expects: list[str]
    words: str
    by: str
    """Who owes it."""
    waiting_seconds: float
    usual_seconds: float | None
    late: bool
    """Whether it takes longer than it should; otherwise it is only not there yet."""
    kind: MissingKind
    durable: str | None
    stream: str
    lag_seconds: float | None
    why: str
    do: list[str]
    """What to do: words, and commands to copy."""


class Story(Answer):
    """``GET /api/order/{id}``, ``/api/trace/{id}``, ``/api/halt/{id}``: oldest event first."""

    kind: str
    """``order_id``, ``trace_id``, ``halt_id``."""
    value: str
    order: OrderFacts | None = None
    events: list[StoryEvent] | None = None
    missing: list[Missing] | None = None
    hidden: dict[str, str] = Field(default_factory=dict[str, str])
    """Streams that may hold more, and why that is not shown."""
    searched: Searched | None = None
    readers_known: bool = False
    """Whether this person may know who has handled what."""


class OrderRow(Shape):
    """One order in the blotter."""

    facts: OrderFacts
    first: Instant
    """When it was created."""
    last: Instant
    """When its state changed last."""
    id: str
    """The event of its last state, ``OMS_ORDERS:12044``."""
    waiting_seconds: float | None
    """Since its last change; null when it is final."""


class Orders(Answer):
    """``GET /api/orders``: the orders of the newest events of the stream, newest change first."""

    orders: list[OrderRow] | None = None
    open: int | None = None
    slow: int | None = None
    """Open orders whose state has not changed for ten seconds or more."""
    rejected_hour: int | None = None
    """Orders rejected within the last hour."""
    since: Instant | None = None
    """The oldest event that was looked at: what was final before is not shown."""


class NavPoint(Shape):
    """The value of a fund at a moment."""

    t: Instant
    fund: str
    equity: str


class Nav(Answer):
    """``GET /api/nav``: oldest first, thinned to at most 2,000 points a fund."""

    points: list[NavPoint] | None = None
