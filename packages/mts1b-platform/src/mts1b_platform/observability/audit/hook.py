"""What goes into the audit log by itself: every durable publish, stored or not known to be; and operator actions."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, cast

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import DurableSubject, Subject
from mts1b_foundation.subjects.subject import FUND

from mts1b_platform.config import Settings
from mts1b_platform.eventbus import Ack, Event, EventBus, LiveEvent
from mts1b_platform.eventbus.events.outgoing import Outgoing
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.protocol.envelope import ACTOR, MSG_ID, SCHEMA, SOURCE_REPO, TRACE_ID
from mts1b_platform.logs import get_logger
from mts1b_platform.observability.audit.errors import AuditError
from mts1b_platform.observability.audit.write import AuditLog

log = get_logger("mts1b.audit")

_ALWAYS = ("idempotency_key", "order_id", FUND)
"""Names that every record has, if only to say that the event has none."""


_Mark = tuple[Subject[Any], Payload | None]


class AuditHook(Hooks):
    """Records durable publishes of one bus. The log is closed with the bus.

    A record that cannot be written does not undo a publish: it is logged as an error and counted.
    """

    best_effort = False
    handlers = False
    one_by_one = True
    decisions = False

    def __init__(self, audit: AuditLog) -> None:
        self.audit = audit

    def publishing(
        self, subject: Subject[Any], event: Payload | None, _out: Outgoing, _cause: LiveEvent[Any] | None, /
    ) -> "_Mark | None":
        """Keep the subject and the payload for its names; None for what is not stored."""
        return (subject, event) if isinstance(subject, DurableSubject) else None

    def published(self, mark: "_Mark | None", out: Outgoing, ack: Ack | None, error: BaseException | None, /) -> None:
        """Record it."""
        if mark is None:
            return
        outcome = (
            {"stream": ack.stream, "seq": ack.seq, "duplicate": ack.duplicate or None}
            if ack
            else {"error": f"{type(error).__name__}: {error}"}
        )
        headers = out.headers
        try:
            self.audit.record(
                "publish" if ack else "publish_failed",
                subject=out.subject,
                **outcome,
                msg_id=headers.get(MSG_ID),
                **_names_of(*mark, out.payload),
                actor=headers.get(ACTOR),
                repo=headers.get(SOURCE_REPO),
                schema=headers.get(SCHEMA),
                trace_id=headers.get(TRACE_ID),
                sha256=hashlib.sha256(out.payload).hexdigest(),
            )
        except AuditError as problem:
            log.error("the audit log misses a publish", error=str(problem), subject=out.subject)

    def stored_many(self, subject: Subject[Any], took: Sequence[tuple[float, int]], /) -> None:
        """Nothing: each of them was seen."""

    def loaded(self, subject: Subject[Any], trace_id: str, stored: int, error: BaseException | None, /) -> None:
        """Record a bulk load as a whole; its events carry the trace id that stands here."""
        failure = None if error is None else f"{type(error).__name__}: {error}"
        try:
            self.audit.record(
                "bulk_load" if error is None else "bulk_load_failed",
                subject=subject.pattern,
                events=stored,
                error=failure,
                repo=subject.producer,
                schema=subject.schema_id,
                trace_id=trace_id,
            )
        except AuditError as problem:
            log.error("the audit log misses a bulk load", error=str(problem), subject=subject.pattern)

    def entered(self, _event: LiveEvent[Any], /) -> None:
        """Nothing."""

    def left(self, _mark: None, _event: LiveEvent[Any], _error: BaseException | None, /) -> None:
        """Nothing."""

    def settled(self, _event: Event[Any], /) -> None:
        """Nothing."""

    def closed(self) -> None:
        """Close the log."""
        self.audit.close()


def open_audit(settings: Settings) -> AuditLog | None:
    """The audit log of this process; None when none is configured.

    Raises:
        AuditError: it cannot be opened.
    """
    if settings.audit_dir is None:
        return None
    return AuditLog(settings.audit_dir, settings.service or "mts1b", max_bytes=settings.audit_max_bytes)


def audit_action(source: EventBus | Settings, action: str, *, actor: str | None = None, **details: Any) -> bool:
    """Record what an operator did, such as ``audit_action(bus, "halt", halt_id=…)``; False without an audit log.

    Raises:
        AuditError: it could not be recorded; the action should then not be taken.
    """
    settings = source if isinstance(source, Settings) else source.settings
    audit = open_audit(settings)
    if audit is None:
        return False
    with audit:
        audit.record("action", action=action, actor=actor or settings.actor or settings.service, **details)
    return True


def _names_of(subject: Subject[Any], event: Payload | None, payload: bytes) -> dict[str, str | None]:
    """What the event is about, under the names that all subjects share."""
    if event is not None:
        fields = event.__dict__
    else:  # a raw publish: whatever it holds
        try:
            document = json.loads(payload)
        except ValueError:
            return {}
        if not isinstance(document, dict):
            return {}
        fields = cast("dict[str, Any]", document)
    fund = fields.get(FUND)
    found = subject.names_of(fields) | ({FUND: fund} if isinstance(fund, str) else {})
    return dict.fromkeys(_ALWAYS) | found if event is not None else dict[str, str | None](found)
