"""The columns of a table of events: the envelope's, then one for each field of the payload. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from mts1b_foundation.event import Event
from mts1b_platform.eventbus.codec.decoder import Refused
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope import MSG_ID, TRACE_ID
from mts1b_platform.eventbus.protocol.envelope_reader import StaticHeaderCache, StaticHeaders, read_ids
from mts1b_platform.eventbus.protocol.headers import HeaderError
from pydantic_core import from_json

from mts1b_operations.history.seen import Decoders

Kind = Literal["text", "decimal", "moment", "whole", "float", "yes_no", "json"]

ENVELOPE: Final[dict[str, Kind]] = {
    "mts_stream": "text",
    "mts_seq": "whole",
    "mts_time": "moment",
    "mts_subject": "text",
    "mts_msg_id": "text",
    "mts_trace_id": "text",
    "mts_source_repo": "text",
    "mts_actor": "text",
    "mts_refused": "text",
    "mts_refused_payload": "text",
}
"""Where an event lies, its envelope, and for one that a strict consumer refuses why, and its payload as text."""

_WORDS: Final = {
    "mts_time": "when the stream stored it",
    "mts_refused": "why a strict consumer refuses the event; its fields are empty then",
    "mts_refused_payload": "the payload of a refused event",
}
_MSG_ID: Final = f"\r\n{MSG_ID}: ".encode()
_TRACE_ID: Final = f"\r\n{TRACE_ID}: ".encode()
_UNKNOWN: Final = StaticHeaders("", "", "", "")


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    kind: Kind
    words: str = ""


def columns_of(payload: type[Event]) -> list[Column]:
    """The columns of events with this payload."""
    fields = [
        Column(name, _kind(field.annotation, field.metadata), field.description or "")
        for name, field in payload.model_fields.items()
    ]
    return [*(Column(name, kind, _WORDS.get(name, "")) for name, kind in ENVELOPE.items()), *fields]


def _kind(annotation: Any, metadata: Sequence[Any] = ()) -> Kind:
    del metadata
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin in (Union, UnionType):
        inner = [each for each in get_args(annotation) if each is not NoneType]
        return _kind(inner[0]) if len(inner) == 1 else "json"
    if not isinstance(annotation, type) or origin is not None:
        return "json"
    for kind, types in _KINDS:
        if issubclass(annotation, types):
            return kind
    return "json"


_KINDS: Final[tuple[tuple[Kind, tuple[type, ...]], ...]] = (
    ("yes_no", (bool,)),
    ("text", (str, bytes)),
    ("whole", (int,)),
    ("float", (float,)),
    ("decimal", (Decimal,)),
    ("moment", (datetime,)),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Some events of a table."""

    envelope: dict[str, list[Any]]
    """The values of the envelope's columns."""
    payloads: list[bytes | None]
    """Their payloads as they came; None for one that a strict consumer refuses."""


class Table:
    """Turns messages into the values of columns.

    Decimals and moments stay the text that they travel as. A message that a strict consumer refuses keeps its place:
    with the reason, and with its payload as text in place of its fields.

    Args:
        payload: the payload of all of them.
        decoders: what strict consumers make of a message; the table has a copy, as it may be filled in a thread.
    """

    def __init__(self, payload: type[Event], decoders: Decoders) -> None:
        self._decoders = Decoders(decoders.registry, masks=decoders.masks)
        hidden = self._hidden(payload)
        self.columns = [
            Column(each.name, "text", each.words) if each.name in hidden and each.kind != "json" else each
            for each in columns_of(payload)
        ]
        self.refused = 0
        """Messages so far that a strict consumer refuses."""
        self.own = [each for each in self.columns if each.name not in ENVELOPE]
        """The columns of the payload."""
        self._static = StaticHeaderCache()

    def values(self, batch: Sequence[Recorded]) -> dict[str, list[Any]]:
        """The values of every column, in the order of ``batch``."""
        rows = self.rows(batch)
        return rows.envelope | self.fields(rows.payloads)

    def rows(self, batch: Sequence[Recorded]) -> Rows:
        """What stands around the payloads of ``batch``, beside the payloads that a strict consumer takes."""
        payloads: list[bytes | None] = []
        why: list[str | None] = []
        shown: list[str | None] = []
        static: list[StaticHeaders] = []
        for recorded in batch:
            wire = recorded.wire
            reason = self._reason(recorded)
            why.append(reason)
            if reason is None:
                payloads.append(self._decoders.shown(recorded).wire.payload)
                shown.append(None)
            else:
                self.refused += 1
                payloads.append(None)
                shown.append(self._decoders.shown(recorded).wire.payload.decode(errors="backslashreplace"))
            static.append(self._static_of(wire.head, known=reason is None))
        ids = [_ids(recorded.wire.head) for recorded in batch]
        envelope: dict[str, list[Any]] = {
            "mts_stream": [each.stream for each in batch],
            "mts_seq": [each.seq for each in batch],
            "mts_time": [each.stamp for each in batch],
            "mts_subject": [each.wire.subject.decode(errors="replace") for each in batch],
            "mts_msg_id": [each[0] for each in ids],
            "mts_trace_id": [each[1] for each in ids],
            "mts_source_repo": [each.source_repo or None for each in static],
            "mts_actor": [each.actor or None for each in static],
            "mts_refused": why,
            "mts_refused_payload": shown,
        }
        return Rows(envelope, payloads)

    def fields(self, payloads: Sequence[bytes | None]) -> dict[str, list[Any]]:
        """The values of the payloads' own columns; none for one that is refused."""
        documents: list[dict[str, Any]] = [{} if payload is None else from_json(payload) for payload in payloads]
        found: dict[str, list[Any]] = {}
        for column in self.own:
            values = [document.get(column.name) for document in documents]
            found[column.name] = [_json(value) for value in values] if column.kind == "json" else values
        return found

    def _reason(self, recorded: Recorded) -> str | None:
        subject = self._decoders.subject(recorded.wire.subject)
        if subject is None:
            return "nobody registered its subject"
        try:
            self._decoders.decode(subject, recorded.wire)
        except Refused as refused:
            return f"{refused.reason.value}: {self._decoders.shown_refusal(subject, refused)}"
        return None

    def _hidden(self, payload: type[Event]) -> frozenset[str]:
        """The names of fields that are masked, in any version of ``payload``: their columns hold text."""
        return frozenset(
            name
            for subject in self._decoders.registry
            if subject.payload.schema_name() == payload.schema_name()
            for name in self._decoders.hidden(subject)
        )

    def _static_of(self, head: bytes, *, known: bool) -> StaticHeaders:
        """The headers that repeat; ``known`` of a block that the decoder took, so that its beginning tells them."""
        if known and (static := self._static.begun_as_before(head)) is not None:
            return static
        try:
            return self._static.read(head) if head else _UNKNOWN
        except HeaderError:
            return _UNKNOWN


def _ids(head: bytes) -> tuple[str | None, str | None]:
    """Message id and trace id; looked for as our own publishers write them, and else by reading all headers."""
    trace_id = _value(head, _TRACE_ID)
    if trace_id is not None:
        return _value(head, _MSG_ID), trace_id
    try:
        ids = read_ids(head) if head else None
    except HeaderError:
        ids = None
    return (None, None) if ids is None else (ids[0] or None, ids[1] or None)


def _value(head: bytes, line: bytes) -> str | None:
    at = head.find(line)
    if at < 0:
        return None
    start = at + len(line)
    return head[start : head.index(b"\r\n", start)].decode(errors="replace") or None


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
