"""From the bytes of a message to a typed payload, or a clear reason why not.

A message is only taken for what it says it is: its subject is one that was asked for, its ``mts-schema`` is the one
registered for that subject, its ``mts-source-repo`` is the subject's one producer, and its payload validates.

Who asks for a subject that replaces another reads both: events of the older one are brought up to the payload that
was asked for by the registry's upcasters.
"""

from collections.abc import Sequence
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.errors import SchemaMismatch
from mts1b_foundation.subjects import DurableSubject, Registry, Subject, registry
from pydantic import ValidationError

from mts1b_platform.eventbus.codec import Decode, decoder
from mts1b_platform.eventbus.headers import (
    MSG_ID_LINE,
    SCHEMA,
    SOURCE_REPO,
    TRACE_LINE,
    USUAL_END,
    USUAL_ID,
    USUAL_LINE,
    HeaderError,
    StaticHeaderCache,
    StaticHeaders,
)
from mts1b_platform.eventbus.wire import RawMsg

_MAX_SUBJECTS: Final = 16_384


class Refused(Exception):
    """The message is not what its subject carries; ``reason`` names the class of the problem."""

    def __init__(self, reason: DeadLetterReason, why: str, pattern: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.pattern = pattern


class Decoder:
    """Decodes what the readers of some subjects receive. What repeats from message to message is looked up.

    Args:
        subjects: what was asked for; others are refused, and counted under the first one's pattern.

    Raises:
        SchemaMismatch: one of ``subjects`` replaces another, and no upcaster leads from the old payload to the new one.
    """

    __slots__ = ("_decoders", "_fallback", "_found", "_known", "_registry", "_static", "_stored")

    def __init__(self, subjects: Sequence[Subject[Any]]) -> None:
        lineage = {old: subject for subject in subjects for old in reversed(subject.lineage)}
        self._registry = Registry(lineage)
        self._decoders: dict[Subject[Any], Decode] = {
            old: decoder(old.payload) if old is subject else _upcast(old, subject) for old, subject in lineage.items()
        }
        self._fallback = subjects[0].pattern
        self._stored = isinstance(subjects[0], DurableSubject)
        self._static = StaticHeaderCache()
        self._known = self._static.known
        self._found: dict[bytes, tuple[Subject[Any], str, Decode, str, str]] = {}

    def decode(self, msg: RawMsg) -> tuple[Subject[Any], str, Any]:
        """The registered subject, the concrete subject as text and the validated payload.

        Raises:
            Refused: with the reason.
        """
        subject, name, decode, schema, producer = self._found.get(msg[0]) or self._find(msg[0])
        head = msg[2]
        end = len(head)
        # Ours end with a trace id, those of a durable subject with a message id behind it: see StaticHeaderCache.
        at = head.rfind(TRACE_LINE, 0, end - USUAL_END) + len(TRACE_LINE) if self._stored else end - USUAL_END
        static = self._known(head[:at])
        usual = head.find(b"\r\n", at) == at + USUAL_ID and head.endswith(b"\r\n\r\n")
        if usual and self._stored:
            at += USUAL_LINE
            usual = head.startswith(MSG_ID_LINE, at) and head.find(b"\r\n", at) == end - 4
        if static is None or not usual:
            static = self._read(subject, name, head)
        if static[0] != schema or static[1] != producer:
            raise _mismatch(subject, name, static)
        try:
            return subject, name, decode(msg[3])
        except ValidationError as error:
            raise Refused(DeadLetterReason.INVALID_PAYLOAD, f"{name}: {_brief(error)}", subject.pattern) from error

    def _read(self, subject: Subject[Any], name: str, head: bytes) -> StaticHeaders:
        try:
            return self._static.read(head)
        except HeaderError as error:
            raise Refused(DeadLetterReason.SCHEMA_MISMATCH, f"{name}: {error}", subject.pattern) from error

    def _find(self, wire_subject: bytes) -> tuple[Subject[Any], str, Decode, str, str]:
        name = wire_subject.decode(errors="replace")
        subject = self._registry.find(name)
        if subject is None:
            why = f"{name} is no subject that this reader asked for"
            raise Refused(DeadLetterReason.UNEXPECTED_SUBJECT, why, self._fallback)
        if len(self._found) >= _MAX_SUBJECTS:
            self._found.clear()
        decode = self._decoders[subject]
        found = self._found[wire_subject] = (subject, name, decode, subject.schema_id, subject.producer)
        return found


def _upcast(old: Subject[Any], wanted: Subject[Any]) -> Decode:
    upcasters, schema, payload = registry().upcasters, old.schema_id, wanted.payload
    if not upcasters.reads(schema, payload):
        raise SchemaMismatch(
            f"{wanted.pattern} replaces {old.pattern}, but no upcaster leads from {schema} to {wanted.schema_id}: "
            "contribute one, `mts1b subjects check` asks for it too"
        )
    return lambda data: upcasters.decode(schema, data, payload)


def _mismatch(subject: Subject[Any], name: str, static: StaticHeaders) -> Refused:
    if static.schema != subject.schema_id:
        got = f"has {SCHEMA} {static.schema!r}" if static.schema else f"has no {SCHEMA} header"
        why = f"the message {got}, expected {subject.schema_id}"
    else:
        why = f"{SOURCE_REPO} is {static.source_repo or None!r}, but only {subject.producer} publishes here"
    return Refused(DeadLetterReason.SCHEMA_MISMATCH, f"{name}: {why}", subject.pattern)


def _brief(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, item['loc'])) or 'payload'}: {item['msg']}" for item in error.errors()[:5]]
    more = error.error_count() - len(problems)
    return f"the payload is no valid {error.title}: " + "; ".join(problems) + (f"; and {more} more" if more else "")
