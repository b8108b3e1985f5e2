"""Events as rows. Pure."""

from typing import Final

from mts1b_operations.history.seen import Seen
from mts1b_operations.story.readers import Reader
from mts1b_platform.eventbus.codec.decoder import Refused

from mts1b_console.read.answer import at
from mts1b_console.shapes.events import EventRow, ReaderState, Refusal

LONGEST_TEXT: Final = 256 * 1024
"""Characters of a payload that are shown."""
_SUMMARY: Final = 400


def row_of(seen: Seen, *, name: str | None = None) -> EventRow:
    """A message as a row; ``name`` in place of its place in a stream."""
    stored = bool(seen.recorded.seq)
    return EventRow(
        id=name or seen.place,
        t=seen.recorded.stamp,
        stream=seen.recorded.stream if stored else None,
        seq=seen.recorded.seq if stored else None,
        subject=seen.subject,
        pattern=seen.registered.pattern if seen.registered else None,
        by=seen.by,
        actor=seen.actor,
        schema_id=seen.schema,
        summary=seen.summary[:_SUMMARY],
        keys=seen.names,
        fund=seen.fund,
        trace=seen.trace_id or None,
        refused=refusal_of(seen, seen.refused),
        size=len(seen.recorded.wire.payload),
    )


def refusal_of(seen: Seen, refused: Refused | None) -> Refusal | None:
    """Why a strict consumer refuses ``seen``; None when it does not."""
    if refused is None:
        return None
    return Refusal(
        reason=refused.reason.value,
        why=str(refused),
        wanted=seen.registered.schema_id if seen.registered else None,
        got=seen.schema or None,
    )


def text_of(payload: bytes) -> tuple[str, bool]:
    """A payload as text, and whether it is only its beginning; what is no text is written as escapes."""
    text = payload[: 4 * LONGEST_TEXT].decode(errors="backslashreplace")
    return text[:LONGEST_TEXT], len(text) > LONGEST_TEXT or len(payload) > 4 * LONGEST_TEXT


def reader_state(reader: Reader) -> ReaderState:
    """What a durable has done with an event."""
    return ReaderState(
        durable=reader.durable,
        service=reader.service or None,
        state=reader.state.value,
        reached=reader.reached,
        behind=reader.behind,
        unsettled=reader.unsettled,
        redelivered=reader.redelivered,
        pulls=reader.pulls,
        last_active=at(reader.last_active),
        paused=reader.paused,
        lag_seconds=round(reader.lag_seconds, 3),
    )
