"""Sinks of alerts: the log, the bus, a webhook, an Alertmanager. One that fails does not stop the others."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from mts1b_foundation.event import utc_now
from mts1b_foundation.operations import Alert, AlertSeverity
from mts1b_foundation.subjects import OPERATIONS_ALERTS_CLEARED, OPERATIONS_ALERTS_RAISED
from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.monitor")

_TIMEOUT = 5.0


class SinkError(Exception):
    """An alert could not be delivered; the message names the sink and the cause."""


class Sink(Protocol):
    """Where alerts are delivered."""

    async def tell(self, changes: Sequence[Alert], active: Sequence[Alert], /) -> None:
        """Deliver the changes, and the alerts in force.

        Raises:
            SinkError: it could not be handed over.
        """
        ...


class LogSink:
    """A line for each change."""

    async def tell(self, changes: Sequence[Alert], _active: Sequence[Alert], /) -> None:
        """Errors for critical ones, warnings for others, a plain line for what is over."""
        for alert in changes:
            cleared = alert.cleared_at is not None
            level = "info" if cleared else "error" if alert.severity is AlertSeverity.CRITICAL else "warning"
            say = getattr(log, level)
            say("alert cleared" if cleared else "alert", **alert.model_dump(mode="json", exclude_none=True))


class BusSink:
    """An event on the bus for each change: ``mts.v1.operations.alerts.raised`` and ``.cleared``."""

    def __init__(self, bus: EventBus, deadline: float = _TIMEOUT) -> None:
        self._bus = bus
        self._deadline = deadline

    async def tell(self, changes: Sequence[Alert], _active: Sequence[Alert], /) -> None:
        """Publish; a later attempt has the same message id."""
        if changes and not self._bus.is_connected:
            raise SinkError("there is no connection to the bus")
        for alert in changes:
            subject = OPERATIONS_ALERTS_RAISED if alert.cleared_at is None else OPERATIONS_ALERTS_CLEARED
            try:
                await self._bus.emit(subject, alert, deadline=self._deadline)
            except BusError as error:
                raise SinkError(f"alert {alert.name} of {alert.target} is not on the bus: {error}") from error


class WebhookSink:
    """A POST of one JSON document for each change."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def tell(self, changes: Sequence[Alert], _active: Sequence[Alert], /) -> None:
        """Post; 2xx is success."""
        for alert in changes:
            document = alert.model_dump(mode="json")
            await _post(self._url, {"status": "raised" if alert.cleared_at is None else "cleared", **document})


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
            await _post(self._url, [self._document(alert) for alert in (*active, *ended)])

    def _document(self, alert: Alert) -> dict[str, Any]:
        return {
            "labels": {
                "alertname": f"mts1b_{alert.name}",
                "target": alert.target,
                "severity": alert.severity.value,
                "service": "mts1b-operations",
            },
            "annotations": {"summary": alert.summary, "value": f"{alert.value:g} {alert.unit}".strip()},
            "startsAt": alert.raised_at.isoformat(),
            "endsAt": (alert.cleared_at or utc_now() + self._lasting).isoformat(),
        }


async def _post(url: str, document: Any) -> None:
    request = urllib.request.Request(  # noqa: S310 - the operator configures it
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}, method="POST"
    )

    def send() -> None:
        with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310
            pass

    try:
        await asyncio.to_thread(send)
    except urllib.error.HTTPError as error:
        error.close()
        raise SinkError(f"alerts were not posted: {url} answers {error.code} {error.reason}") from None
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise SinkError(f"alerts were not posted to {url}: {error}") from error
