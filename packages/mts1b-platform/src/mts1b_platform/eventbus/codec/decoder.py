"""From the bytes of a message to a typed payload, or a clear reason why not.

A message is only taken for what it says it is: its subject is one that was asked for, its ``mts-schema`` is the one
registered for that subject, its ``mts-source-repo`` is the subject's one producer, and its payload validates. Where a
producer has granted a part of its claim, events of the grantee are taken there, and those that it stored itself before.

Who asks for a subject that replaces another reads both: events of the older one are brought up to the payload that
was asked for by the registry's upcasters.
"""

from collections.abc import Sequence
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.errors import SchemaMismatch, words_of
from mts1b_foundation.subjects import Registry, Subject, registry
from pydantic import ValidationError

from mts1b_platform.eventbus.codec.payload import Decode, decoder, plan_of
from mts1b_platform.eventbus.core import CORE, Plan, Subjects
from mts1b_platform.eventbus.protocol.envelope import ONLY_DURABLE, SCHEMA, SOURCE_REPO
from mts1b_platform.eventbus.protocol.envelope_reader import StaticHeaderCache, StaticHeaders, are_ids, ids_at
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.message import RawMsg

_MAX_SUBJECTS: Final = 16_384
_ONLY: Final = ONLY_DURABLE.lower().encode()
_STORED: Final = b"nats-stream: "
"""In what a stream was asked for, which a listener has to look at each time."""
_NONE: Final = b"\0"
"""As a prefix: no header block begins like this."""


class Refused(Exception):
    """The message is not what its subject carries; ``reason`` names the class of the problem."""

    def __init__(self, reason: DeadLetterReason, why: str, pattern: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.pattern = pattern


class _Known:
    """What a reader remembers of one concrete subject."""

    __slots__ = ("at", "decode", "name", "plan", "prefix", "subject")

    def __init__(self, subject: Subject[Any], name: str, decode: Decode, plan: Plan | None) -> None:
        self.subject = subject
        self.name = name
        self.decode = decode
        self.prefix = _NONE
        """How the header block of its last message began, up to the ids, when it was found to be what it should be."""
        self.at = 0
        """Length of that."""
        self.plan = plan
        """How the compiled core reads its payloads, if it does."""


class Decoder:
    """Decodes what the readers of some subjects receive. What repeats from message to message is looked up.

    Args:
        subjects: what was asked for; others are refused, and counted under the first one's pattern.

    Raises:
        SchemaMismatch: one of ``subjects`` replaces another, and no upcaster leads from the old payload to the new one.
    """

    __slots__ = ("_decoders", "_fallback", "_known", "_plans", "_registry", "_static", "compiled")

    def __init__(self, subjects: Sequence[Subject[Any]]) -> None:
        lineage = {old: subject for subject in subjects for old in reversed(subject.lineage)}
        self._registry = Registry(lineage)
        self._decoders: dict[Subject[Any], Decode] = {
            old: decoder(old.payload) if old is subject else _upcast(old, subject) for old, subject in lineage.items()
        }
        self._fallback = subjects[0].pattern
        self._static = StaticHeaderCache()
        self._known: dict[bytes, _Known] = {}
        self._plans = {subject: plan_of(subject.payload) for subject in subjects}
        self.compiled: Subjects | None = CORE.Subjects() if CORE is not None and any(self._plans.values()) else None
        """Decodes what is common, in the compiled core, once it was seen here."""

    def decode(self, msg: RawMsg) -> tuple[Subject[Any], str, Any, bool]:
        """The registered subject, the concrete subject as text, the validated payload; whether the envelope is plain.

        A plain one ends as ours do and is meant for every durable.

        Raises:
            Refused: with the reason.
        """
        if self.compiled is not None and (read := self.compiled.decode(msg)) is not None:
            return read
        known = self._known.get(msg[0]) or self._find(msg[0])
        head, at = msg[2], known.at
        plain = (head[:at] == known.prefix and are_ids(head[at:])) or self._check(known, head, msg[0])
        try:
            return known.subject, known.name, known.decode(msg[3]), plain
        except ValidationError as error:
            why = f"{known.name}: {_brief(error)}"
            raise Refused(DeadLetterReason.INVALID_PAYLOAD, why, known.subject.pattern) from error
        except Exception as error:
            why = f"{known.name}: a validator of the payload failed: {words_of(error)}"
            raise Refused(DeadLetterReason.INVALID_PAYLOAD, why, known.subject.pattern) from error

    def _check(self, known: _Known, head: bytes, wire_subject: bytes) -> bool:
        """See what the headers say, and remember how a plain envelope began; whether it is one."""
        subject = known.subject
        try:
            static = self._static.read(head)
        except HeaderError as error:
            raise Refused(DeadLetterReason.SCHEMA_MISMATCH, f"{known.name}: {error}", subject.pattern) from error
        if static.schema != subject.schema_id or not _publishes(static.source_repo, subject, known.name):
            raise _mismatch(subject, known.name, static)
        at = ids_at(head)
        lowered = head[:at].lower()
        if _ONLY in lowered:
            return False
        known.at, known.prefix = at, head[:at] or _NONE
        if at > 0 and self.compiled is not None and known.plan is not None and _STORED not in lowered:
            self.compiled.remember(wire_subject, head[:at], subject, known.name, subject.pattern, known.plan)
        return at > 0

    def _find(self, wire_subject: bytes) -> _Known:
        name = wire_subject.decode(errors="replace")
        subject = self._registry.find(name)
        if subject is None:
            why = f"{name} is no subject that this reader asked for"
            raise Refused(DeadLetterReason.UNEXPECTED_SUBJECT, why, self._fallback)
        if len(self._known) >= _MAX_SUBJECTS:
            self._known.clear()
        known = self._known[wire_subject] = _Known(subject, name, self._decoders[subject], self._plans.get(subject))
        return known


def _upcast(old: Subject[Any], wanted: Subject[Any]) -> Decode:
    upcasters, schema, payload = registry().upcasters, old.schema_id, wanted.payload
    if not upcasters.reads(schema, payload):
        raise SchemaMismatch(
            f"{wanted.pattern} replaces {old.pattern}, but no upcaster leads from {schema} to {wanted.schema_id}: "
            "contribute one, `mts1b subjects check` asks for it too"
        )
    return lambda data: upcasters.decode(schema, data, payload)


def _publishes(repo: str | None, subject: Subject[Any], name: str) -> bool:
    return repo == subject.producer or repo == registry().producer_of(subject, name)


def _mismatch(subject: Subject[Any], name: str, static: StaticHeaders) -> Refused:
    if static.schema != subject.schema_id:
        got = f"has {SCHEMA} {static.schema!r}" if static.schema else f"has no {SCHEMA} header"
        why = f"the message {got}, expected {subject.schema_id}"
    else:
        producer = registry().producer_of(subject, name)
        why = f"{SOURCE_REPO} is {static.source_repo or None!r}, but only {producer} publishes here"
    return Refused(DeadLetterReason.SCHEMA_MISMATCH, f"{name}: {why}", subject.pattern)


def _brief(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, item['loc'])) or 'payload'}: {item['msg']}" for item in error.errors()[:5]]
    more = error.error_count() - len(problems)
    return f"the payload is no valid {error.title}: " + "; ".join(problems) + (f"; and {more} more" if more else "")
