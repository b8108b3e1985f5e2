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
    ROLLED_BACK = "rolled_back"
    """Events that were stored and are gone: streams stand behind where they stood."""
    SOURCE_SILENT = "source_silent"
    """Seconds since a stream that copies one of another site has heard of it."""
    CONSUMER_MISSING = "consumer_missing"
    """1 when an expected durable is not on the server."""
    NOBODY_ACTIVE = "nobody_active"
    """1 when a durable for several instances has messages waiting, and none of them is handed these."""
    HELD_UP = "held_up"
    """Seconds for which the active one of several instances has had messages and finished none."""
    TAKEOVERS = "takeovers"
    """Times within ten minutes that another of several instances became active."""
    CERTIFICATE = "certificate_expiry"
    """Days until a certificate expires. Less is worse."""
    DISK_FREE = "disk_free"
    """Share of a disk that is free, of bytes or of inodes, whichever is less. Less is worse."""
    DISK_FILLS = "disk_fills"
    """Hours until a disk is full at the pace of the last hour; infinite when it does not fill. Less is worse."""
    ARCHIVE_BEHIND = "archive_behind"
    """Hours until a stream begins to lose what is not archived; infinite when it loses nothing. Less is worse."""
    ARCHIVE_AGE = "archive_age"
    """Hours since the archive was brought up to date."""
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
