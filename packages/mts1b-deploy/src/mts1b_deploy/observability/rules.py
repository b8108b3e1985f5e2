"""The alert rules for Prometheus. Each says what is wrong and what to do; thresholds are those of the monitor."""

from dataclasses import dataclass
from typing import Final, Literal

from mts1b_platform.observability import names

JOB: Final = "mts1b"
"""The scrape job of the services."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert.

    Attributes:
        name: as it is shown.
        expr: fires for every series that this gives.
        severity: warning or critical.
        summary: what is wrong, about which thing; may use ``{{ $labels.x }}``.
        action: what to do.
        lasting: how long it must hold first.
    """

    name: str
    expr: str
    severity: Literal["warning", "critical"]
    summary: str
    action: str
    lasting: str = "0s"

    def document(self) -> dict[str, object]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.lasting,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "action": self.action},
        }


_CONSUMER = "{{ $labels.consumer }} on {{ $labels.stream }}"
_REPO = "{{ $labels.repo }}"
_SUBJECT = "{{ $labels.subject }}"
_DAY = 86_400


def _rising(metric: names.Metric, window: str) -> str:
    return f"increase({metric.name}[{window}]) > 0"


def slow_consumer(seconds: float) -> Rule:
    """The alert of a consumer that lags more than ``seconds`` behind."""
    return Rule(
        "MTS1BSlowConsumer",
        f"{names.LAG_SECONDS.name} > {seconds:g}",
        "critical",
        f"{_CONSUMER} lags more than {seconds:g} s behind",
        "See whether its service runs and what its handler waits for: mts1b lag, the service's log.",
    )


RULES: Final[tuple[Rule, ...]] = (
    slow_consumer(30),
    Rule(
        "MTS1BDiscardRisk",
        f"{names.DISCARD_RISK.name} > 0.7",
        "warning",
        f"what {_CONSUMER} has not read is near to being discarded by the stream's limits",
        "Start its service, or raise the stream's limits: mts1b streams plan.",
    ),
    Rule(
        "MTS1BDiscardImminent",
        f"{names.DISCARD_RISK.name} > 0.9",
        "critical",
        f"what {_CONSUMER} has not read is about to be discarded by the stream's limits",
        "Raise the stream's limits now, then start its service: mts1b streams plan.",
    ),
    Rule(
        "MTS1BDeadLetters",
        f"{names.DEADLETTERS_RECENT.name} > 0",
        "warning",
        "messages were given up on lately",
        "Look at them, and requeue them when the cause is mended: mts1b deadletters ls.",
    ),
    Rule(
        "MTS1BSchemaMismatch",
        _rising(names.SCHEMA_MISMATCH, "5m"),
        "warning",
        f"{_REPO} refuses messages on {_SUBJECT}: they are not what the subject carries",
        "Find who publishes them: the dead letters hold the headers.",
    ),
    Rule(
        "MTS1BHandlersFail",
        f"rate({names.CONSUME_ERRORS.name}[5m]) > 0.05 * rate({names.CONSUMED.name}[5m])",
        "warning",
        f"more than 5 % of the handlers of {_REPO} on {_SUBJECT} fail",
        "See the service's log; the events come again until the retry policy gives up.",
        "5m",
    ),
    Rule(
        "MTS1BStoreAway",
        f"{names.STORE_AWAY.name} > 0",
        "critical",
        f"{_REPO} handles nothing: the store of its handler is away",
        "See the service's log for what its database or disk says; it goes on by itself when the store is back.",
        "1m",
    ),
    Rule(
        "MTS1BStreamMissing",
        f"{names.STREAM_MISSING.name} == 1",
        "critical",
        "stream {{ $labels.stream }} is not on the server",
        "Create it: mts1b streams apply. Ask who deleted it: the server's audit advisories.",
    ),
    Rule(
        "MTS1BConsumerMissing",
        f"{names.CONSUMER_MISSING.name} == 1",
        "critical",
        f"durable {_CONSUMER} is gone, and its position with it",
        "Start its service, which creates it anew, and mind that it begins at its beginning.",
    ),
    Rule(
        "MTS1BServerDoesNotStore",
        f"{names.PROBE_OK.name} == 0",
        "critical",
        "a probe could not be stored: the server, its disk or its quorum is in trouble",
        "See the server's log and, in a cluster, how many members are up.",
        "10s",
    ),
    Rule(
        "MTS1BMonitorMissing",
        f"absent({names.PROBE_OK.name})",
        "critical",
        "nobody watches: the monitor does not run or is not scraped",
        "Start it: mts1b monitor run.",
        "1m",
    ),
    Rule(
        "MTS1BMonitorBlind",
        f"absent({names.POLL_SECONDS.name}) and on() {names.PROBE_OK.name}",
        "critical",
        "the monitor runs and does not see the server's streams",
        "See its log: the server is away, or its identity may not ask.",
        "1m",
    ),
    Rule(
        "MTS1BServiceDown",
        f'up{{job="{JOB}"}} == 0',
        "critical",
        "{{ $labels.service }} at {{ $labels.instance }} does not answer",
        "See whether its process runs, and its log.",
        "30s",
    ),
    Rule(
        "MTS1BDisconnected",
        f"{names.CONNECTED.name} == 0",
        "critical",
        f"{_REPO} has no connection to the bus",
        "See whether the server runs and whether its certificate is accepted.",
        "15s",
    ),
    Rule(
        "MTS1BPublishFails",
        _rising(names.PUBLISH_ERRORS, "5m"),
        "critical",
        f"{_REPO} could not store events on {_SUBJECT}",
        "See the service's log for the error; events of an outbox are sent later by themselves.",
    ),
    Rule(
        "MTS1BPublishSlow",
        f"histogram_quantile(0.99, sum by (le, repo) (rate({names.PUBLISH_ACK_SECONDS.name}_bucket[5m]))) > 1",
        "warning",
        f"1 % of the events of {_REPO} take longer than 1 s to be stored",
        "See the server's disk and load, and the network between.",
        "5m",
    ),
    Rule(
        "MTS1BQuotesDropped",
        f"rate({names.PUBLISH_DROPPED.name}[5m]) > 0",
        "warning",
        f"{_REPO} drops best-effort events on {_SUBJECT}: it has no connection",
        "See whether the server runs.",
        "1m",
    ),
    Rule(
        "MTS1BSlowListener",
        f"rate({names.SLOW_CONSUMER_DROPS.name}[5m]) > 0",
        "warning",
        f"{_REPO} is too slow for {_SUBJECT} and skips events",
        "Conflate, or give the service more processor time.",
        "5m",
    ),
    Rule(
        "MTS1BCertificateExpires",
        f"{names.CERTIFICATE_SECONDS.name} < {21 * _DAY}",
        "warning",
        "certificate {{ $labels.path }} expires in less than three weeks",
        "Renew it; a reload takes it up without dropping connections.",
    ),
    Rule(
        "MTS1BCertificateExpiresSoon",
        f"{names.CERTIFICATE_SECONDS.name} < {3 * _DAY}",
        "critical",
        "certificate {{ $labels.path }} expires in less than three days",
        "Renew it now: without it the service cannot connect.",
    ),
    Rule(
        "MTS1BAuditFails",
        _rising(names.AUDIT_FAILURES, "5m"),
        "critical",
        f"the audit log of {_REPO} misses records",
        "See the disk of the audit log; the streams still hold the events.",
    ),
)
