"""What the blocks of ``rules.md`` stand behind."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, ClassVar

from mts1b_foundation.event import Event, Money, UtcDatetime
from mts1b_foundation.subjects import DurableSubject, Grant, Subject, Tier
from mts1b_foundation.subjects.contributions import ConsumerDeclaration, Contribution
from mts1b_foundation.upcasting import Upcaster, upcaster
from pydantic import ConfigDict, Field, PlainSerializer, model_validator

__all__ = [
    "Annotated",
    "ClassVar",
    "ConfigDict",
    "Contribution",
    "Decimal",
    "Field",
    "Grant",
    "Money",
    "PlainSerializer",
    "UtcDatetime",
    "alert_up",
    "asked",
    "datetime",
    "durable",
    "loose",
    "model_validator",
]


@dataclass
class Stream:
    name: str
    subjects: tuple[str, ...]
    max_age: str = "7d"

    def render(self, profile: str) -> dict[str, Any]:
        if not self.max_age.endswith("d"):
            raise ValueError(f"{self.max_age!r} is no duration")
        return {"name": self.name, "profile": profile}


class Alert(Event):
    alert_id: str
    level: str


class Call(Event):
    """Names a fund, so that its subjects have two forms on the wire."""

    fund_id: str


class Alert2(Event):
    schema_version: ClassVar[int] = 2
    alert_id: str


@upcaster
def alert_up(old: Alert) -> Alert2:
    return Alert2(alert_id=old.alert_id)


durable = partial(
    DurableSubject[Any],
    producer="mts1b-alerts",
    payload=Alert,
    tier=Tier.AT_LEAST_ONCE,
    description="An alert.",
    dedupe_key="{alert_id}",
)
loose = partial(
    Subject[Any], producer="mts1b-alerts", payload=Alert, tier=Tier.BEST_EFFORT, description="An alert, ephemeral."
)
asked = partial(ConsumerDeclaration, durable="bell", stream="ALERTS", filters=("mts.v1.alerts.alerts.raised",))

PRODUCERS = {"mts1b-alerts": "alerts", "mts1b-bells": "bells"}
RAISED = durable("mts.v1.alerts.alerts.raised")
STREAMS = [Stream("ALERTS", ("mts.*.alerts.alerts.*",))]
CONSUMERS: list[ConsumerDeclaration] = []
UPCASTERS: list[Upcaster[Any, Any]] = []
SUBJECTS: list[Subject[Any]] = [RAISED]
