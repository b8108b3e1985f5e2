"""Alerts as JSON documents, posted as they are."""

from collections.abc import Sequence

from mts1b_foundation.operations import Alert

from mts1b_operations.monitor.sinks.http import post_json
from mts1b_operations.monitor.sinks.page import runbook_of


class WebhookSink:
    """A POST of one JSON document for each change."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def tell(self, changes: Sequence[Alert], _active: Sequence[Alert], /) -> None:
        """Post; 2xx is success."""
        for alert in changes:
            document = alert.model_dump(mode="json")
            status = "raised" if alert.cleared_at is None else "cleared"
            await post_json(self._url, {"status": status, "runbook": runbook_of(alert), **document})
