"""The result of one survey of the server: a reading of each watched quantity."""

from dataclasses import dataclass
from enum import StrEnum


class Watch(StrEnum):
    """A watched quantity; also the name of its alert."""

    SLOW_CONSUMER = "slow_consumer"
    """Seconds that a consumer lags."""
    DEAD_LETTERS = "dead_letters"
    """Dead letters stored within the window."""
    DISCARD_RISK = "discard_risk"
    """How near a stream's limits are to discarding a message that a consumer has not read; 1: discarded."""
    STREAM_MISSING = "stream_missing"
    """1 when a declared stream is not on the server."""
    CONSUMER_MISSING = "consumer_missing"
    """1 when an expected durable is not on the server."""
    CERTIFICATE = "certificate_expiry"
    """Days until a certificate expires. Less is worse."""
    SERVER = "server_health"
    """Seconds that storing a probe took; infinite when it was not stored."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One measured value.

    Attributes:
        watch: what is watched.
        target: which one of them: ``stream/consumer``, a stream, a file.
        value: what was measured.
        detail: one line for people.
    """

    watch: Watch
    target: str
    value: float
    detail: str
