"""Schemas of payloads: documents, snapshots, and how two versions of one get along."""

from mts1b_foundation.schemas.changes import Change, Compatibility, overall
from mts1b_foundation.schemas.diff import diff
from mts1b_foundation.schemas.document import schema_document

__all__ = ["Change", "Compatibility", "diff", "overall", "schema_document"]
