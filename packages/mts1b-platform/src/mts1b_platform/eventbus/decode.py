"""From bytes to a typed payload, or a clear reason why not.

A message is only taken for what it says it is: its subject is one that was asked for, its ``mts-schema`` is the one
registered for that subject, its ``mts-source-repo`` is the subject's one producer, and its payload validates.
"""

from collections.abc import Mapping
from typing import Any

from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.subjects import Registry, Subject
from pydantic import ValidationError

from mts1b_platform.eventbus.headers import SCHEMA, SOURCE_REPO


class Refused(Exception):
    """The message is not what its subject carries; ``reason`` names the class of the problem."""

    def __init__(self, reason: DeadLetterReason, why: str, pattern: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.pattern = pattern


def decode(
    asked_for: Registry, subject: str, headers: Mapping[str, str], data: bytes, *, fallback: str
) -> tuple[Subject[Any], Any]:
    """The registered subject and the validated payload.

    Args:
        asked_for: the subjects that the reader subscribed to.
        subject: the concrete subject of the message.
        headers: its headers, looked up without regard to case.
        data: its payload.
        fallback: the pattern to count under when the subject is none that was asked for.

    Raises:
        Refused: with the reason.
    """
    registered = asked_for.find(subject)
    if registered is None:
        raise Refused(
            DeadLetterReason.UNEXPECTED_SUBJECT, f"{subject} is no subject that this reader asked for", fallback
        )
    pattern = registered.pattern
    said = headers.get(SCHEMA)
    if said != registered.schema_id:
        got = f"has {SCHEMA} {said!r}" if said else f"has no {SCHEMA} header"
        raise Refused(
            DeadLetterReason.SCHEMA_MISMATCH, f"{subject}: the message {got}, expected {registered.schema_id}", pattern
        )
    if (source := headers.get(SOURCE_REPO)) != registered.producer:
        raise Refused(
            DeadLetterReason.SCHEMA_MISMATCH,
            f"{subject}: {SOURCE_REPO} is {source!r}, but only {registered.producer} publishes here",
            pattern,
        )
    try:
        return registered, registered.payload.__pydantic_validator__.validate_json(data)
    except ValidationError as error:
        raise Refused(DeadLetterReason.INVALID_PAYLOAD, f"{subject}: {_brief(error)}", pattern) from error


def _brief(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, item['loc'])) or 'payload'}: {item['msg']}" for item in error.errors()[:5]]
    more = error.error_count() - len(problems)
    return f"the payload is no valid {error.title}: " + "; ".join(problems) + (f"; and {more} more" if more else "")
