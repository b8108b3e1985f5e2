"""The registry for readers outside Python: Markdown, AsyncAPI, JSON Schema, TypeScript."""

from mts1b_foundation.views.asyncapi import asyncapi
from mts1b_foundation.views.jsonschema import jsonschema
from mts1b_foundation.views.markdown import markdown
from mts1b_foundation.views.typescript import typescript

__all__ = ["asyncapi", "jsonschema", "markdown", "typescript"]
