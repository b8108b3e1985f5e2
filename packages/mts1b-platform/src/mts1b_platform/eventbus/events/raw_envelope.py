"""Completing the envelope of a raw publish."""

from collections.abc import Mapping

from mts1b_platform.eventbus.events.trace import trace_id_for
from mts1b_platform.eventbus.protocol.envelope import CONTENT_TYPE, JSON, TRACE_ID, canonical


def complete_envelope(subject: str, headers: Mapping[str, str] | None) -> dict[str, str] | None:
    """Canonical headers; on ``mts.`` subjects also the content type and trace id when the caller left them out.

    Raises:
        InvalidHeader: two names differ only by case, or a value holds a line break.
    """
    if not subject.startswith("mts."):
        return canonical(headers) if headers else None
    envelope = canonical(headers or {})
    envelope.setdefault(CONTENT_TYPE, JSON)
    envelope.setdefault(TRACE_ID, trace_id_for())
    return envelope
