"""One message to a person, and the words that it is made of."""

from typing import Literal, NamedTuple

from mts1b_foundation.operations import Alert, AlertSeverity
from mts1b_platform.observability.runbook import runbook_url

from mts1b_operations.monitor.reading import Watch

_IN_RUNBOOK = {"page", *(watch.value for watch in Watch)}

Status = Literal["raised", "repeated", "cleared"]


class Page(NamedTuple):
    """An alert as a person is told of it."""

    status: Status
    alert: Alert
    repeats: bool = True
    """Whether it is told again until somebody says that it is known."""

    @property
    def is_critical(self) -> bool:
        """Whether somebody has to look now."""
        return self.status != "cleared" and self.alert.severity is AlertSeverity.CRITICAL

    @property
    def title(self) -> str:
        """One short line."""
        word = "OVER" if self.status == "cleared" else self.alert.severity.value.upper()
        return f"{word}: {self.alert.name} {self.alert.target}{' (again)' if self.status == 'repeated' else ''}"

    @property
    def text(self) -> str:
        """What is wrong, where it stands what to do, and how to say that it is known."""
        lines = [self.alert.summary]
        if self.status != "cleared" and (runbook := runbook_of(self.alert)):
            lines.append(f"What to do: {runbook}")
        if self.is_critical and self.repeats:
            lines.append(f"It is repeated until `mts1b alerts acknowledge {self.alert.alert_id}`")
        return "\n".join(lines)

    def words(self) -> dict[str, str]:
        """What a template may use."""
        alert = self.alert
        return {
            "status": self.status,
            "title": self.title,
            "text": self.text,
            "name": alert.name,
            "target": alert.target,
            "severity": "cleared" if self.status == "cleared" else alert.severity.value,
            "value": f"{alert.value:g}",
            "unit": alert.unit,
            "summary": alert.summary,
            "alert_id": alert.alert_id,
            "runbook": runbook_of(alert),
            "raised_at": alert.raised_at.isoformat(timespec="seconds"),
        }


def runbook_of(alert: Alert) -> str:
    """The address of the runbook's section about an alert; empty for one that is a test."""
    return runbook_url(alert.name) if alert.name in _IN_RUNBOOK else ""
