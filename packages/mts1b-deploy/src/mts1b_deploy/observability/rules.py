"""The alert rules for Prometheus. Each says what is wrong and what to do; thresholds are those of the monitor."""

from dataclasses import dataclass
from typing import Final, Literal

from mts1b_platform.observability import names
from mts1b_platform.observability.runbook import runbook_url

JOB: Final = "mts1b"
"""The scrape job of the services."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert.

    Attributes:
        name: as it is shown.
        expr: fires for every series that this gives.
        severity: warning or critical.
        runbook: the section of docs/runbook.md about it.
        summary: what is wrong, about which thing; may use ``{{ $labels.x }}``.
        action: what to do.
        lasting: how long it must hold first.
    """

    name: str
    expr: str
    severity: Literal["warning", "critical"]
    runbook: str
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
            "annotations": {
                "summary": self.summary,
                "action": self.action,
                "runbook_url": runbook_url(self.runbook),
            },
        }


_CONSUMER = "{{ $labels.consumer }} on {{ $labels.stream }}"
_REPO = "{{ $labels.repo }}"
_SUBJECT = "{{ $labels.subject }}"
_HOUR = 3_600
_DAY = 24 * _HOUR


def _rising(metric: names.Metric, window: str) -> str:
    return f"increase({metric.name}[{window}]) > 0"


def slow_consumer(seconds: float) -> Rule:
    """The alert of a consumer that lags more than ``seconds`` behind."""
    return Rule(
        "MTS1BSlowConsumer",
        f"{names.LAG_SECONDS.name} > {seconds:g}",
        "critical",
        "slow_consumer",
        f"{_CONSUMER} lags more than {seconds:g} s behind",
        "See whether its service runs and what its handler waits for: mts1b lag, the service's log.",
    )


RULES: Final[tuple[Rule, ...]] = (
    slow_consumer(30),
    Rule(
        "MTS1BDiscardRisk",
        f"{names.DISCARD_RISK.name} > 0.7",
        "warning",
        "discard_risk",
        f"what {_CONSUMER} has not read is near to being discarded by the stream's limits",
        "Start its service, or raise the stream's limits: mts1b streams plan.",
    ),
    Rule(
        "MTS1BDiscardImminent",
        f"{names.DISCARD_RISK.name} > 0.9",
        "critical",
        "discard_risk",
        f"what {_CONSUMER} has not read is about to be discarded by the stream's limits",
        "Raise the stream's limits now, then start its service: mts1b streams plan.",
    ),
    Rule(
        "MTS1BDeadLetters",
        f"{names.DEADLETTERS_RECENT.name} > 0",
        "warning",
        "dead_letters",
        "messages were given up on lately",
        "Look at them, and requeue them when the cause is mended: mts1b deadletters ls.",
    ),
    Rule(
        "MTS1BSchemaMismatch",
        _rising(names.SCHEMA_MISMATCH, "5m"),
        "warning",
        "handlers_fail",
        f"{_REPO} refuses messages on {_SUBJECT}: they are not what the subject carries",
        "Find who publishes them: the dead letters hold the headers.",
    ),
    Rule(
        "MTS1BHandlersFail",
        f"rate({names.CONSUME_ERRORS.name}[5m]) > 0.05 * rate({names.CONSUMED.name}[5m])",
        "warning",
        "handlers_fail",
        f"more than 5 % of the handlers of {_REPO} on {_SUBJECT} fail",
        "See the service's log; the events come again until the retry policy gives up.",
        "5m",
    ),
    Rule(
        "MTS1BStoreAway",
        f"{names.STORE_AWAY.name} > 0",
        "critical",
        "store_away",
        f"{_REPO} handles nothing: the store of its handler is away",
        "See the service's log for what its database or disk says; it goes on by itself when the store is back.",
        "1m",
    ),
    Rule(
        "MTS1BStoreHeld",
        f"{names.STORE_HELD.name} > 0",
        "critical",
        "held_up",
        f"{_REPO} handles nothing: another process keeps the store of its handler locked",
        "The service's log names the process: one that is frozen in a transaction is to be woken or killed.",
    ),
    Rule(
        "MTS1BStreamMissing",
        f"{names.STREAM_MISSING.name} == 1",
        "critical",
        "stream_missing",
        "stream {{ $labels.stream }} is not on the server",
        "Create it: mts1b streams apply. Ask who deleted it: the server's audit advisories.",
    ),
    Rule(
        "MTS1BRolledBack",
        f"{names.ROLLED_BACK.name} > 0",
        "critical",
        "rolled_back",
        "streams stand behind where they stood: their host was rolled back, or they were restored or made anew",
        "Compare the books before trading goes on, then say that it is known: mts1b alerts acknowledge.",
    ),
    Rule(
        "MTS1BConsumerMissing",
        f"{names.CONSUMER_MISSING.name} == 1",
        "critical",
        "consumer_missing",
        f"durable {_CONSUMER} is gone, and its position with it",
        "Start its service, which creates it anew, and mind that it begins at its beginning.",
    ),
    Rule(
        "MTS1BSourceSilent",
        f"{names.SOURCE_SILENT.name} > 15",
        "warning",
        "source_silent",
        "stream {{ $labels.stream }} hears nothing of site {{ $labels.site }}: what is stored there does not come here",
        "See the network between the sites, then mts1b-deploy doctor at both.",
        "15s",
    ),
    Rule(
        "MTS1BNobodyActive",
        f"{names.NOBODY_ACTIVE.name} == 1",
        "critical",
        "nobody_active",
        f"messages wait for {_CONSUMER}, and none of its instances is handed them",
        "See which instances there are, and start one: mts1b groups ls.",
        "30s",
    ),
    Rule(
        "MTS1BHeldUp",
        f"{names.HELD_UP.name} > 60",
        "warning",
        "held_up",
        f"the active instance of {_CONSUMER} has messages and finishes none",
        "See its log for what its handler waits for; mts1b groups move has another instance take over.",
    ),
    Rule(
        "MTS1BTakeoversFlap",
        f"sum by (subject, repo) (increase({names.TAKEOVERS.name}[10m])) > 6",
        "warning",
        "takeovers",
        f"instances of {_REPO} take over from each other again and again on {_SUBJECT}",
        "See why the active one is taken for dead: a handler that blocks, a machine without time, a broken network.",
    ),
    Rule(
        "MTS1BServerDoesNotStore",
        f"{names.PROBE_OK.name} == 0",
        "critical",
        "server_health",
        "a probe could not be stored: the server, its disk or its quorum is in trouble",
        "See the server's log and, in a cluster, how many members are up.",
        "10s",
    ),
    Rule(
        "MTS1BMonitorMissing",
        f"absent({names.PROBE_OK.name})",
        "critical",
        "monitor_missing",
        "nobody watches: the monitor does not run or is not scraped",
        "Start it: mts1b monitor run.",
        "1m",
    ),
    Rule(
        "MTS1BMonitorBlind",
        f"absent({names.POLL_SECONDS.name}) and on() {names.PROBE_OK.name}",
        "critical",
        "server_health",
        "the monitor runs and does not see the server's streams",
        "See its log: the server is away, or its identity may not ask.",
        "1m",
    ),
    Rule(
        "MTS1BServiceDown",
        f'up{{job="{JOB}"}} == 0',
        "critical",
        "service_down",
        "{{ $labels.service }} at {{ $labels.instance }} does not answer",
        "See whether its process runs, and its log.",
        "30s",
    ),
    Rule(
        "MTS1BDisconnected",
        f"{names.CONNECTED.name} == 0",
        "critical",
        "service_down",
        f"{_REPO} has no connection to the bus",
        "See whether the server runs and whether its certificate is accepted.",
        "15s",
    ),
    Rule(
        "MTS1BPublishFails",
        _rising(names.PUBLISH_ERRORS, "5m"),
        "critical",
        "publish_fails",
        f"{_REPO} could not store events on {_SUBJECT}",
        "See the service's log for the error; events of an outbox are sent later by themselves.",
    ),
    Rule(
        "MTS1BPublishSlow",
        f"histogram_quantile(0.99, sum by (le, repo) (rate({names.PUBLISH_ACK_SECONDS.name}_bucket[5m]))) > 1",
        "warning",
        "publish_fails",
        f"1 % of the events of {_REPO} take longer than 1 s to be stored",
        "See the server's disk and load, and the network between.",
        "5m",
    ),
    Rule(
        "MTS1BQuotesDropped",
        f"rate({names.PUBLISH_DROPPED.name}[5m]) > 0",
        "warning",
        "publish_fails",
        f"{_REPO} drops best-effort events on {_SUBJECT}: it has no connection",
        "See whether the server runs.",
        "1m",
    ),
    Rule(
        "MTS1BSlowListener",
        f"rate({names.SLOW_CONSUMER_DROPS.name}[5m]) > 0",
        "warning",
        "slow_listener",
        f"{_REPO} is too slow for {_SUBJECT} and skips events",
        "Conflate, or give the service more processor time.",
        "5m",
    ),
    Rule(
        "MTS1BCertificateExpires",
        f"{names.CERTIFICATE_SECONDS.name} < {7 * _DAY}",
        "warning",
        "certificate_expiry",
        "certificate {{ $labels.path }} expires in less than a week: it should have been renewed with ten days left",
        "See why nothing renewed it, and renew it: mts1b-deploy pki rotate --due. No connection is dropped.",
    ),
    Rule(
        "MTS1BCertificateExpiresSoon",
        f"{names.CERTIFICATE_SECONDS.name} < {3 * _DAY}",
        "critical",
        "certificate_expiry",
        "certificate {{ $labels.path }} expires in less than three days",
        "Renew it now: without it the service cannot connect.",
    ),
    Rule(
        "MTS1BDiskLow",
        f"{names.DISK_FREE.name} < 0.1",
        "warning",
        "disk_free",
        "less than 10 % of the bytes or inodes of the disk of {{ $labels.path }} are free",
        "See what grew: mts1b streams ls, du. Make room, or enlarge the disk.",
        "1m",
    ),
    Rule(
        "MTS1BDiskAlmostFull",
        f"{names.DISK_FREE.name} < 0.04",
        "critical",
        "disk_free",
        "less than 4 % of the bytes or inodes of the disk of {{ $labels.path }} are free",
        "Make room now: on a full disk the server stops storing until it is restarted.",
    ),
    Rule(
        "MTS1BDiskFills",
        f"{names.DISK_FILLS.name} < {24 * _HOUR}",
        "warning",
        "disk_fills",
        "the disk of {{ $labels.path }} is full within a day at the pace of the last hour",
        "See what grows: mts1b streams ls, du. Make room, or enlarge the disk.",
        "5m",
    ),
    Rule(
        "MTS1BDiskFull",
        f"{names.DISK_FILLS.name} < {4 * _HOUR}",
        "critical",
        "disk_fills",
        "the disk of {{ $labels.path }} is full within four hours at the pace of the last hour",
        "Make room now: on a full disk the server stops storing until it is restarted.",
        "5m",
    ),
    Rule(
        "MTS1BArchiveBehind",
        f"{names.ARCHIVE_LEFT.name} < {18 * _HOUR}",
        "warning",
        "archive_behind",
        "within 18 hours stream {{ $labels.stream }} begins to lose what is not archived",
        "See why the archive is not run, and run it: mts1b archive status, systemctl start mts1b-archive.",
        "2m",
    ),
    Rule(
        "MTS1BArchiveTooLate",
        f"{names.ARCHIVE_LEFT.name} < {6 * _HOUR}",
        "critical",
        "archive_behind",
        "within 6 hours stream {{ $labels.stream }} begins to lose what is not archived",
        "Run the archive now: systemctl start mts1b-archive.",
        "2m",
    ),
    Rule(
        "MTS1BArchiveNotRun",
        f"{names.ARCHIVE_AGE.name} > {26 * _HOUR}",
        "warning",
        "archive_age",
        "the archive in {{ $labels.path }} was not brought up to date for more than a day",
        "See why: journalctl -u mts1b-archive. Then run it: systemctl start mts1b-archive.",
    ),
    Rule(
        "MTS1BAuditFails",
        _rising(names.AUDIT_FAILURES, "5m"),
        "critical",
        "audit_fails",
        f"the audit log of {_REPO} misses records",
        "See the disk of the audit log; the streams still hold the events.",
    ),
)
