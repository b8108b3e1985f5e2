"""Alerts as lines of the log."""

from collections.abc import Sequence

from mts1b_foundation.operations import Alert, AlertSeverity
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.monitor")


class LogSink:
    """A line for each change."""

    async def tell(self, changes: Sequence[Alert], _active: Sequence[Alert], /) -> None:
        """Errors for critical ones, warnings for others, a plain line for what is over."""
        for alert in changes:
            cleared = alert.cleared_at is not None
            level = "info" if cleared else "error" if alert.severity is AlertSeverity.CRITICAL else "warning"
            say = getattr(log, level)
            say("alert cleared" if cleared else "alert", **alert.model_dump(mode="json", exclude_none=True))
