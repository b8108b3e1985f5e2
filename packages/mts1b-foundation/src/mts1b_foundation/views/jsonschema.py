"""The payloads as JSON Schema documents, for validators in any language."""

from collections.abc import Iterable
from typing import Any

from mts1b_foundation.schemas.document import schema_document
from mts1b_foundation.subjects.subject import Subject


def jsonschema(subjects: Iterable[Subject[Any]]) -> dict[str, dict[str, Any]]:
    """The document of every payload, by the schema id that the header ``mts-schema`` carries."""
    models = {subject.schema_id: subject.payload for subject in subjects}
    return {name: schema_document(model) for name, model in sorted(models.items())}
