"""The Grafana dashboards: bus, streams, consumers, desk. Rows of panels as data, rendered to Grafana's JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from mts1b_platform.observability import names
from mts1b_platform.observability.names import Metric

_WIDTH = 24
_HEIGHT = 8
_SOURCE = {"type": "prometheus", "uid": "${source}"}

Kind = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph, number or table.

    Attributes:
        title: what it shows.
        queries: expression and legend of each series.
        unit: Grafana's name of the unit: ``s``, ``short``, ``ops``, ``bytes``, ``percentunit``.
        kind: how it is drawn.
        red: from this value on it is drawn red.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: Kind = "timeseries"
    red: float | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard: rows of panels, each row as wide as the screen."""

    uid: str
    title: str
    rows: tuple[tuple[Panel, ...], ...]

    def document(self) -> dict[str, Any]:
        """As Grafana reads it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["mts1b"],
            "schemaVersion": 39,
            "refresh": "5s",
            "time": {"from": "now-30m", "to": "now"},
            "templating": {
                "list": [{"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}]
            },
            "panels": list(_laid_out(self.rows)),
        }


def _laid_out(rows: Sequence[Sequence[Panel]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line, row in enumerate(rows):
        width = _WIDTH // len(row)
        for column, panel in enumerate(row):
            place = {"h": _HEIGHT, "w": width, "x": column * width, "y": line * _HEIGHT}
            found.append(_panel(len(found) + 1, panel, place))
    return found


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red is not None:
        steps.append({"color": "red", "value": panel.red})
    return {
        "id": number,
        "title": panel.title,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": expr,
                "legendFormat": legend,
                "instant": panel.kind != "timeseries",
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for index, (expr, legend) in enumerate(panel.queries)
        ],
    }


def _rate(metric: Metric, by: str) -> str:
    return f"sum by ({by}) (rate({metric.name}[1m]))"


def _quantiles(metric: Metric, by: str, legend: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            f"histogram_quantile({share}, sum by (le, {by}) (rate({metric.name}_bucket[1m])))",
            f"{legend} p{round(share * 100)}",
        )
        for share in (0.5, 0.99)
    )


_BY_SUBJECT = "{{repo}} {{subject}}"
_BY_CONSUMER = "{{stream}} / {{consumer}}"

_BUS: Final = Dashboard(
    "mts1b-bus",
    "MTS1B bus",
    (
        (
            Panel("Storing works", ((names.PROBE_OK.name, "probe"),), kind="stat"),
            Panel("Time to store a probe", ((names.PROBE_SECONDS.name, "probe"),), unit="s", kind="stat", red=1),
            Panel("Alerts", ((f"sum({names.ALERTS.name}) or vector(0)", "raised"),), kind="stat", red=1),
            Panel("Services connected", ((names.CONNECTED.name, "{{repo}}"),), kind="stat"),
        ),
        (
            Panel("Published", ((_rate(names.PUBLISHED, "repo, subject"), _BY_SUBJECT),), unit="ops"),
            Panel("Consumed", ((_rate(names.CONSUMED, "repo, subject"), _BY_SUBJECT),), unit="ops"),
        ),
        (
            Panel("Publish to ack", _quantiles(names.PUBLISH_ACK_SECONDS, "repo", "{{repo}}"), unit="s"),
            Panel("Publish to handler", _quantiles(names.PUBLISH_TO_HANDLER_SECONDS, "repo", "{{repo}}"), unit="s"),
            Panel("Handler", _quantiles(names.HANDLER_SECONDS, "repo", "{{repo}}"), unit="s"),
        ),
        (
            Panel(
                "Trouble when publishing",
                (
                    (_rate(names.PUBLISH_RETRIES, "repo, subject"), f"retried {_BY_SUBJECT}"),
                    (_rate(names.PUBLISH_DUPLICATES, "repo, subject"), f"duplicate {_BY_SUBJECT}"),
                    (_rate(names.PUBLISH_DROPPED, "repo, subject"), f"dropped {_BY_SUBJECT}"),
                    (_rate(names.PUBLISH_ERRORS, "repo, subject"), f"failed {_BY_SUBJECT}"),
                ),
                unit="ops",
            ),
            Panel(
                "Connections",
                (
                    (_rate(names.DISCONNECTS, "repo"), "lost {{repo}}"),
                    (_rate(names.RECONNECTS, "repo"), "back {{repo}}"),
                    (_rate(names.CONNECTION_ERRORS, "repo"), "errors {{repo}}"),
                ),
                unit="ops",
            ),
            Panel("Waiting for an ack", ((names.PUBLISH_IN_FLIGHT.name, "{{repo}}"),)),
            Panel("Not yet sent", ((names.PENDING_BYTES.name, "{{repo}}"),), unit="bytes"),
        ),
    ),
)

_STREAMS: Final = Dashboard(
    "mts1b-streams",
    "MTS1B streams",
    (
        (
            Panel("Streams missing", ((f"sum({names.STREAM_MISSING.name})", "missing"),), kind="stat", red=1),
            Panel("Dead letters lately", ((names.DEADLETTERS_RECENT.name, "recent"),), kind="stat", red=1),
        ),
        (
            Panel("Messages stored", ((names.STREAM_MESSAGES.name, "{{stream}}"),)),
            Panel("Bytes stored", ((names.STREAM_BYTES.name, "{{stream}}"),), unit="bytes"),
        ),
        (
            Panel(
                "Near to discarding what is unread",
                ((names.DISCARD_RISK.name, _BY_CONSUMER),),
                unit="percentunit",
                red=0.9,
            ),
            Panel("Dead letters", ((_rate(names.DEADLETTERS, "repo, subject"), _BY_SUBJECT),), unit="ops"),
        ),
    ),
)

_CONSUMERS: Final = Dashboard(
    "mts1b-consumers",
    "MTS1B consumers",
    (
        (
            Panel("Lag", ((names.LAG_SECONDS.name, _BY_CONSUMER),), unit="s", red=30),
            Panel("Messages waiting", ((names.LAG_MESSAGES.name, _BY_CONSUMER),)),
        ),
        (
            Panel(
                "Worst lag", ((f"topk(10, {names.LAG_SECONDS.name})", _BY_CONSUMER),), unit="s", kind="table", red=30
            ),
            Panel("Durables missing", ((f"sum({names.CONSUMER_MISSING.name})", "missing"),), kind="stat", red=1),
            Panel(
                "The monitor",
                ((names.POLL_SECONDS.name, "look takes"), (_rate(names.POLL_FAILURES, "job"), "looks failed")),
            ),
        ),
        (
            Panel("Delivered, not acknowledged", ((names.ACK_PENDING.name, _BY_CONSUMER),)),
            Panel("Delivered more than once", ((names.REDELIVERED.name, _BY_CONSUMER),)),
        ),
        (
            Panel("Active instances", ((names.ACTIVE.name, "{{repo}} {{reader}} {{instance}}"),)),
            Panel("Takeovers within ten minutes", ((names.TAKEOVERS_RECENT.name, _BY_CONSUMER),)),
            Panel("Active, and nothing finished", ((names.HELD_UP.name, _BY_CONSUMER),), unit="s"),
            Panel(
                "Nobody active, store held",
                (
                    (f"sum({names.NOBODY_ACTIVE.name})", "nobody active"),
                    (f"sum({names.STORE_HELD.name})", "store held"),
                ),
                kind="stat",
                red=1,
            ),
        ),
        (
            Panel("Being handled", ((names.CONSUME_IN_FLIGHT.name, "{{repo}} {{reader}}"),)),
            Panel("Waiting in the process", ((names.QUEUE_DEPTH.name, "{{repo}} {{reader}}"),)),
            Panel(
                "Refused, failed, skipped",
                (
                    (_rate(names.SCHEMA_MISMATCH, "repo, subject"), f"mismatch {_BY_SUBJECT}"),
                    (_rate(names.CONSUME_ERRORS, "repo, subject"), f"failed {_BY_SUBJECT}"),
                    (_rate(names.STORE_OUTAGES, "repo, subject"), f"store away {_BY_SUBJECT}"),
                    (_rate(names.SLOW_CONSUMER_DROPS, "repo, subject"), f"skipped {_BY_SUBJECT}"),
                    (_rate(names.DEDUPLICATED, "repo, subject"), f"done before {_BY_SUBJECT}"),
                ),
                unit="ops",
            ),
        ),
    ),
)


def _versions(*rests: str) -> tuple[str, ...]:
    """The subjects that end like this, in the versions that are in use."""
    return tuple(f"mts.v{version}.{rest}" for rest in rests for version in (1, 2))


def _published(*subjects: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f'sum by (subject) (rate({names.PUBLISHED.name}{{subject="{subject}"}}[1m]))', "{{subject}}")
        for subject in subjects
    )


_LATENCY = names.PUBLISH_TO_HANDLER_SECONDS.name
_DESK: Final = Dashboard(
    "mts1b-desk",
    "MTS1B desk",
    (
        (
            Panel("Quotes", _published(*_versions("marketdata.quotes.{symbol}")), unit="ops"),
            Panel("Signals", _published(*_versions("research.signals.published")), unit="ops"),
            Panel("Net asset values", _published(*_versions("treasury.nav.{fund_id}")), unit="ops"),
        ),
        (
            Panel(
                "Orders",
                _published(
                    *_versions(
                        *(
                            f"oms.orders.{step}"
                            for step in ("created", "accepted", "rejected", "partially_filled", "filled", "canceled")
                        )
                    )
                ),
                unit="ops",
            ),
            Panel("Fills", _published(*_versions("brokers.{broker}.fills.raw", "oms.fills.created")), unit="ops"),
            Panel("Risk gate", _published("mts.v1.risk.gate.passed", "mts.v1.risk.gate.failed"), unit="ops"),
        ),
        (
            Panel(
                "From event to handler, slowest 1 %",
                (
                    (
                        f"histogram_quantile(0.99, sum by (le, subject) (rate({_LATENCY}_bucket[1m])))",
                        "{{subject}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Audit records",
                (
                    (_rate(names.AUDIT_RECORDS, "repo"), "{{repo}}"),
                    (_rate(names.AUDIT_FAILURES, "repo"), "{{repo}} missed"),
                ),
                unit="ops",
            ),
        ),
    ),
)

DASHBOARDS: Final[tuple[Dashboard, ...]] = (_BUS, _STREAMS, _CONSUMERS, _DESK)
