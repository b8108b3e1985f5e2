"""Alerts for a Prometheus Alertmanager."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from mts1b_foundation.event import utc_now
from mts1b_foundation.operations import Alert

from mts1b_operations.monitor.sinks.http import post_json
from mts1b_operations.monitor.sinks.page import runbook_of


class AlertmanagerSink:
    """All alerts in force, posted to a Prometheus Alertmanager after every survey: it drops those not repeated.

    Alerts that are over are sent with an end.
    """

    def __init__(self, url: str, *, lasting: float) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._lasting = timedelta(seconds=lasting)

    async def tell(self, changes: Sequence[Alert], active: Sequence[Alert], /) -> None:
        """Post the alerts in force and those that ended."""
        ended = [alert for alert in changes if alert.cleared_at is not None]
        if active or ended:
            await post_json(self._url, [self._document(alert) for alert in (*active, *ended)])

    def _document(self, alert: Alert) -> dict[str, Any]:
        return {
            "labels": {
                "alertname": f"mts1b_{alert.name}",
                "target": alert.target,
                "severity": alert.severity.value,
                "service": "mts1b-operations",
            },
            "annotations": {
                "summary": alert.summary,
                "value": f"{alert.value:g} {alert.unit}".strip(),
                "runbook_url": runbook_of(alert),
            },
            "startsAt": alert.raised_at.isoformat(),
            "endsAt": (alert.cleared_at or utc_now() + self._lasting).isoformat(),
        }
