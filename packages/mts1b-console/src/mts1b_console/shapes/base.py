"""What all shapes have in common: exact fields, moments in UTC, and what is not known said to be unknown."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, WithJsonSchema

Instant = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment in UTC, RFC 3339 with a ``Z``, to the nanosecond for stored events."""
Document = dict[str, Any]
"""A JSON object that is passed on as it is."""


class Shape(BaseModel):
    """Something that is sent or received: these fields and no other."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


class Problem(Shape):
    """Why something is not known, was not done, or is refused."""

    code: str
    """For programs: ``access-denied``, ``unanswered``, ``not-found`` …"""
    message: str
    what_to_do: str = ""


class Failed(Shape):
    """The body of every answer with a status of 400 or above."""

    error: Problem


class Answer(Shape):
    """Something that was read. When ``unknown`` is set it could not be: every figure beside it is null, never 0."""

    read_at: Instant
    """When it was read; for what is unknown, when that was tried."""
    unknown: Problem | None = None
