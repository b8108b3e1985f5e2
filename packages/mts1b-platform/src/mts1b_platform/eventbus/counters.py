"""What the bus counts: plain integers on the hot path, read by a metrics collector when it wants to.

Every counter is keyed by the registered pattern of the subject (``mts.v1.marketdata.quotes.{symbol}``), never by the
concrete subject, so that symbols and funds cannot multiply series.
"""

from collections import defaultdict
from dataclasses import dataclass, field

UNSENT = "(unsent)"
"""Key under which best-effort events are counted that died with the connection before they left the process."""


def _counter() -> defaultdict[str, int]:
    return defaultdict(int)  # adding one costs half of what it costs a Counter


@dataclass(slots=True)
class Counters:
    """Counts since the bus was connected, by subject pattern."""

    published: defaultdict[str, int] = field(default_factory=_counter)
    """Events sent; in the durable tiers: stored and acknowledged."""
    publish_dropped: defaultdict[str, int] = field(default_factory=_counter)
    """Best-effort events given up because the connection was away or its buffer full."""
    publish_retries: defaultdict[str, int] = field(default_factory=_counter)
    publish_duplicates: defaultdict[str, int] = field(default_factory=_counter)
    """Acks that said the event was stored already."""
    publish_failed: defaultdict[str, int] = field(default_factory=_counter)
    """Durable events that ended in an error for the caller."""
    consumed: defaultdict[str, int] = field(default_factory=_counter)
    """Events handled and acknowledged, and events handed to a listener."""
    consume_errors: defaultdict[str, int] = field(default_factory=_counter)
    """Handler failures, each delivery counted."""
    schema_mismatch: defaultdict[str, int] = field(default_factory=_counter)
    """Messages refused because their schema or payload is not what the subject carries."""
    deadletters: defaultdict[str, int] = field(default_factory=_counter)
    deduplicated: defaultdict[str, int] = field(default_factory=_counter)
    """Events acknowledged without handling: a dedupe store had them as done, or an ordered consumer had."""
    store_outages: defaultdict[str, int] = field(default_factory=_counter)
    """Times a consumer paused because the store of its handler was away."""
    takeovers: defaultdict[str, int] = field(default_factory=_counter)
    """Times an instance, one of several of a reader, was handed the events from then on."""
    slow_consumer_drops: defaultdict[str, int] = field(default_factory=_counter)
    """Best-effort events that a listener was too slow for (drop-oldest or conflated)."""
    reconnects: int = 0
    disconnects: int = 0
    errors: int = 0
    """Asynchronous errors that the server or the client reported."""
