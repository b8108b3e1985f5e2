"""The registry: subjects, who publishes and reads them, and the schemas of their payloads."""

from mts1b_console.shapes.base import Answer, Document, Shape


class SubjectReader(Shape):
    """A declared durable that reads a subject."""

    stream: str
    durable: str
    service: str


class SubjectRow(Shape):
    """A registered subject."""

    pattern: str
    description: str
    producer: str
    payload: str
    """The schema, ``mts1b_foundation.orders.Order:v1``."""
    tier: str
    message_id: str | None
    forms: list[str]
    """How it looks on the wire."""
    streams: list[str]
    replaces: str | None
    readers: list[SubjectReader]


class Subjects(Answer):
    """``GET /api/subjects?matching=PATTERN``."""

    subjects: list[SubjectRow] | None = None


class SchemaChange(Shape):
    """A difference between two versions of a schema."""

    path: str
    compatibility: str
    words: str


class SchemaFound(Answer):
    """``GET /api/schemas/{id}``."""

    schema_id: str
    description: str
    document: Document | None
    fields: dict[str, str]
    """Each field in words."""
    versions: list[str]
    subjects: list[str]
    against: str | None
    """The version before, with which it is compared."""
    changes: list[SchemaChange]


class SchemaRow(Shape):
    """A schema in the list."""

    schema_id: str
    description: str
    subjects: int


class Schemas(Answer):
    """``GET /api/schemas``."""

    schemas: list[SchemaRow] | None = None


class Hit(Shape):
    """Where the palette may go."""

    kind: str
    """``order``, ``trace``, ``event``, ``subject``, ``schema``, ``stream``, ``consumer``, ``service``, ``halt``."""
    title: str
    detail: str
    href: str
    """A page of the console, ``/order/desk-1.2``."""


class Hits(Answer):
    """``GET /api/find?q=…``: the likeliest first."""

    hits: list[Hit] | None = None


class Words(Answer):
    """``GET /api/words``: what a query may be completed with."""

    fields: list[str]
    """Names that a query knows of every event, then the fields of payloads."""
    values: dict[str, list[str]]
    """Of fields that have few values, these."""
    subjects: list[str]
