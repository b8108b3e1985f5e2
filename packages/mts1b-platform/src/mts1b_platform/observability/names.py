"""Every metric of MTS1B: its name, kind, labels and meaning. Collectors, rules and dashboards take them from here.

``subject`` is always a registered pattern (``mts.v1.marketdata.quotes.{symbol}``), never a concrete subject: symbols
and funds do not become series. ``repo`` is the service that speaks.
"""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family as Prometheus sees it.

    Attributes:
        name: the full name; a counter's ends in ``_total``, a time is in seconds.
        kind: counter, gauge or histogram.
        help: one line for people.
        labels: names of its labels.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """The names that a query may use."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


_SUBJECT: Final = ("subject", "repo")
_REPO: Final = ("repo",)
_READER: Final = ("reader", "repo")
_CONSUMER: Final = ("stream", "consumer")
_STREAM: Final = ("stream",)

# Written by every service that is observed.

PUBLISHED: Final = Metric(
    "nats_publish_total", "counter", "Events sent; durable ones stored and acknowledged.", _SUBJECT
)
PUBLISH_ERRORS: Final = Metric(
    "nats_publish_errors_total", "counter", "Durable events whose publish ended in an error.", _SUBJECT
)
PUBLISH_DROPPED: Final = Metric(
    "nats_publish_dropped_total", "counter", "Best-effort events dropped while there was no connection.", _SUBJECT
)
PUBLISH_RETRIES: Final = Metric(
    "nats_publish_retries_total", "counter", "Further attempts to store a durable event.", _SUBJECT
)
PUBLISH_DUPLICATES: Final = Metric(
    "nats_publish_duplicates_total", "counter", "Durable events that were stored before.", _SUBJECT
)
CONSUMED: Final = Metric("nats_consume_total", "counter", "Events handled and acknowledged, or heard.", _SUBJECT)
CONSUME_ERRORS: Final = Metric(
    "nats_consume_errors_total", "counter", "Failures of handlers, each delivery counted.", _SUBJECT
)
SCHEMA_MISMATCH: Final = Metric(
    "nats_consume_schema_mismatch_total", "counter", "Messages refused: not what their subject carries.", _SUBJECT
)
DEDUPLICATED: Final = Metric(
    "nats_consume_deduplicated_total", "counter", "Events acknowledged unhandled, as they were done before.", _SUBJECT
)
STORE_OUTAGES: Final = Metric(
    "nats_consume_store_outages_total", "counter", "Pauses of consumers whose handler's store was away.", _SUBJECT
)
TAKEOVERS: Final = Metric(
    "nats_consume_takeovers_total",
    "counter",
    "Times this instance, one of several of a reader, was handed the events from then on.",
    _SUBJECT,
)
DEADLETTERS: Final = Metric(
    "nats_deadletters_total", "counter", "Messages given up on, by their original subject.", _SUBJECT
)
SLOW_CONSUMER_DROPS: Final = Metric(
    "nats_slow_consumer_drops_total", "counter", "Best-effort events that a listener was too slow for.", _SUBJECT
)
RECONNECTS: Final = Metric("nats_reconnects_total", "counter", "Times the connection came back.", _REPO)
DISCONNECTS: Final = Metric("nats_disconnects_total", "counter", "Times the connection was lost.", _REPO)
CONNECTION_ERRORS: Final = Metric(
    "nats_connection_errors_total", "counter", "Asynchronous errors of server or client.", _REPO
)
CONNECTED: Final = Metric("nats_connected", "gauge", "1 while every connection of the process stands.", _REPO)
PUBLISH_IN_FLIGHT: Final = Metric("nats_publish_in_flight", "gauge", "Durable events waiting for their ack.", _REPO)
CONSUME_IN_FLIGHT: Final = Metric(
    "nats_consume_in_flight", "gauge", "Events being handled, by durable consumer.", _READER
)
STORE_AWAY: Final = Metric(
    "nats_consume_store_away",
    "gauge",
    "Durable consumers that pause because the store of their handler is away.",
    _READER,
)
STORE_HELD: Final = Metric(
    "nats_consume_store_held",
    "gauge",
    "Durable consumers that pause because another process keeps the store of their handler locked.",
    _READER,
)
ACTIVE: Final = Metric(
    "nats_consume_active", "gauge", "1 while this instance, one of several of a reader, is handed events.", _READER
)
QUEUE_DEPTH: Final = Metric(
    "nats_queue_depth", "gauge", "Events waiting in the process for the handler or reader.", _READER
)
PENDING_BYTES: Final = Metric("nats_outbound_pending_bytes", "gauge", "Bytes not yet written to the server.", _REPO)
PUBLISH_ACK_SECONDS: Final = Metric(
    "nats_publish_ack_seconds", "histogram", "From sending a durable event to its ack.", _SUBJECT
)
PUBLISH_TO_HANDLER_SECONDS: Final = Metric(
    "nats_publish_to_handler_seconds",
    "histogram",
    "From storing a durable event to handing it out; counted when it is decided on.",
    _SUBJECT,
)
HANDLER_SECONDS: Final = Metric(
    "nats_handler_seconds", "histogram", "From handing an event out to deciding on it.", _SUBJECT
)
AUDIT_RECORDS: Final = Metric("nats_audit_records_total", "counter", "Records written to the audit log.", _REPO)
AUDIT_FAILURES: Final = Metric(
    "nats_audit_failures_total", "counter", "Records that could not be written to the audit log.", _REPO
)

# Written by the monitor of mts1b-operations, for everything on the server.

LAG_SECONDS: Final = Metric(
    "nats_consumer_lag_seconds", "gauge", "Age of the oldest matching message that is not acknowledged.", _CONSUMER
)
LAG_MESSAGES: Final = Metric(
    "nats_consumer_lag_messages", "gauge", "Matching messages that are not acknowledged.", _CONSUMER
)
ACK_PENDING: Final = Metric(
    "nats_consumer_ack_pending", "gauge", "Messages delivered and not yet acknowledged.", _CONSUMER
)
REDELIVERED: Final = Metric(
    "nats_consumer_redelivered", "gauge", "Messages delivered more than once and not yet acknowledged.", _CONSUMER
)
DISCARD_RISK: Final = Metric(
    "nats_consumer_discard_risk_ratio",
    "gauge",
    "How near the stream's limits are to discarding an unread message; 1: it is discarded.",
    _CONSUMER,
)
CONSUMER_MISSING: Final = Metric("nats_consumer_missing", "gauge", "1 when an expected durable is gone.", _CONSUMER)
NOBODY_ACTIVE: Final = Metric(
    "nats_consumer_nobody_active",
    "gauge",
    "1 when a durable for several instances has messages waiting, and none of them is handed these.",
    _CONSUMER,
)
HELD_UP: Final = Metric(
    "nats_consumer_held_up_seconds",
    "gauge",
    "Of a durable for several instances: for how long the active one has had messages and finished none.",
    _CONSUMER,
)
TAKEOVERS_RECENT: Final = Metric(
    "nats_consumer_takeovers_recent",
    "gauge",
    "Of a durable for several instances: times within ten minutes that another became active.",
    _CONSUMER,
)
STREAM_MISSING: Final = Metric("nats_stream_missing", "gauge", "1 when an expected stream is gone.", _STREAM)
ROLLED_BACK: Final = Metric(
    "nats_streams_rolled_back_events",
    "gauge",
    "Events that were stored and are gone, until that is acknowledged.",
    (),
)
SOURCE_SILENT: Final = Metric(
    "nats_stream_source_silent_seconds",
    "gauge",
    "Seconds since a stream that copies one of another site has heard of it.",
    ("stream", "site"),
)
STREAM_MESSAGES: Final = Metric("nats_stream_messages", "gauge", "Messages stored.", _STREAM)
STREAM_BYTES: Final = Metric("nats_stream_bytes", "gauge", "Bytes stored.", _STREAM)
DEADLETTERS_RECENT: Final = Metric(
    "nats_deadletters_recent", "gauge", "Dead letters stored within the monitor's window.", ()
)
PROBE_SECONDS: Final = Metric(
    "nats_probe_seconds", "gauge", "How long storing the last probe took, end to end; the timeout when it failed.", ()
)
PROBE_OK: Final = Metric("nats_probe_ok", "gauge", "1 when the last probe was stored.", ())
CERTIFICATE_SECONDS: Final = Metric(
    "nats_certificate_expiry_seconds", "gauge", "Seconds until a certificate expires.", ("path",)
)
DISK_FREE: Final = Metric(
    "nats_disk_free_ratio", "gauge", "Share of a disk that is free, of bytes or of inodes.", ("path",)
)
DISK_FILLS: Final = Metric(
    "nats_disk_full_seconds", "gauge", "Seconds until a disk is full at the pace of the last hour.", ("path",)
)
ARCHIVE_LEFT: Final = Metric(
    "nats_archive_left_seconds", "gauge", "Seconds until a stream begins to lose what is not archived.", ("stream",)
)
ARCHIVE_AGE: Final = Metric(
    "nats_archive_age_seconds", "gauge", "Seconds since the archive was brought up to date.", ("path",)
)
ALERTS: Final = Metric("nats_alerts_active", "gauge", "1 for every alert raised now.", ("alert", "target", "severity"))
POLL_SECONDS: Final = Metric("nats_monitor_poll_seconds", "gauge", "How long the last look at the server took.", ())
POLL_FAILURES: Final = Metric("nats_monitor_poll_failures_total", "counter", "Looks at the server that failed.", ())

METRICS: Final[tuple[Metric, ...]] = tuple(value for value in globals().values() if isinstance(value, Metric))
"""All of them, in the order above."""
