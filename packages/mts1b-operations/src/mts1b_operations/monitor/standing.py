"""The alerts in force and who looks after them, as the stream tells.

A restarted monitor goes on with them, so that what is still wrong is not raised twice and what is over is cleared.
"""

import secrets
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.event import utc_now
from mts1b_foundation.operations import Alert, AlertAcknowledgement
from mts1b_foundation.subjects import (
    OPERATIONS_ALERTS_ACKNOWLEDGED,
    OPERATIONS_ALERTS_CLEARED,
    OPERATIONS_ALERTS_RAISED,
)
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.codec.decoder import Decoder, Refused
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.logs import get_logger
from mts1b_platform.observability.audit import audit_action
from mts1b_platform.threads import in_thread

log = get_logger("mts1b.monitor")

_STREAM: Final = "OPERATIONS_ALERTS"
_DECODER: Final = Decoder((OPERATIONS_ALERTS_RAISED, OPERATIONS_ALERTS_CLEARED, OPERATIONS_ALERTS_ACKNOWLEDGED))


class NoSuchAlert(Mts1bError):
    """The alert is not in force."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An alert in force.

    Attributes:
        alert: as it was raised last.
        acknowledged: who looks after it; None when nobody does, or it was raised with another severity since.
    """

    alert: Alert
    acknowledged: AlertAcknowledgement | None

    def to_json(self) -> dict[str, Any]:
        """It as a JSON document: the alert's fields, and ``acknowledged``."""
        said = self.acknowledged and self.acknowledged.model_dump(mode="json")
        return {**self.alert.model_dump(mode="json"), "acknowledged": said}


async def alerts_in_force(bus: EventBus) -> list[Standing]:
    """Alerts raised and not cleared, in the order in which they were raised.

    Raises:
        BusError: the stream cannot be read.
    """
    found: dict[str, Standing] = {}
    history = await open_history(bus, _STREAM)
    async with aclosing(history.messages()) as stored:
        async for message in stored:
            try:
                _, _, word, _ = _DECODER.decode(message.wire)
            except Refused as refused:
                log.warning("a message among the alerts is none", reason=str(refused))
                continue
            _fold(found, word)
    return list(found.values())


async def acknowledge(
    bus: EventBus, alert_id: str, *, actor: str, note: str = "", acknowledgement_id: str | None = None, **noted: Any
) -> AlertAcknowledgement:
    """Say that ``actor`` looks after an alert. It is stored when this returns, and in the audit log if there is one.

    Args:
        bus: speaks as mts1b-operations.
        alert_id: the alert.
        actor: who.
        note: what is known or being done.
        acknowledgement_id: the same one twice is one acknowledgement. Made up when left out.
        noted: what else the audit log shall say of it.

    Raises:
        NoSuchAlert: it is not in force.
        AuditError: it cannot be written down, so it is not done.
        BusError: it could not be stored.
    """
    in_force = [each.alert.alert_id for each in await alerts_in_force(bus)]
    if alert_id not in in_force:
        raise NoSuchAlert(f"alert {alert_id!r} is not in force (in force: {', '.join(in_force) or 'none'})")
    said = AlertAcknowledgement(
        acknowledgement_id=acknowledgement_id or f"ack-{secrets.token_hex(6)}",
        alert_id=alert_id,
        actor=actor,
        note=note,
        acknowledged_at=utc_now(),
    )
    record = partial(audit_action, bus, "alerts.acknowledge", actor=actor, alert_id=alert_id, note=note, **noted)
    await in_thread(record)
    await bus.emit(OPERATIONS_ALERTS_ACKNOWLEDGED, said)
    return said


def _fold(found: dict[str, Standing], word: object) -> None:
    match word:
        case Alert(cleared_at=None):
            found[word.alert_id] = Standing(word, None)
        case Alert():
            found.pop(word.alert_id, None)
        case AlertAcknowledgement() if word.alert_id in found:
            found[word.alert_id] = replace(found[word.alert_id], acknowledged=word)
        case _:
            pass
