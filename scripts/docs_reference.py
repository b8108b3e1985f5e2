"""Pages of the site that nobody writes: commands from their help, settings from their classes, subjects and schemas.

A hook of MkDocs (`mkdocs.yml`): the pages exist while the site is built, and in no folder.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mts1b_deploy.cli
import mts1b_desk.cli
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mts1b_foundation.schemas.document import schema_document
from mts1b_foundation.subjects.contributions import FOUNDATION
from mts1b_foundation.views import markdown
from mts1b_platform.cli import app
from typer.core import TyperGroup
from typer.main import get_command

sys.path.insert(0, str(Path(__file__).parent))
from docs_settings import settings_page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    subjects = list(FOUNDATION.subjects)
    pages = {
        "reference/commands.md": "\n".join(_commands()),
        "reference/settings.md": settings_page(),
        "reference/subjects.md": markdown(subjects, FOUNDATION.producers, FOUNDATION.grants),
        "reference/schemas.md": "\n".join(_schemas({subject.payload for subject in subjects})),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def _commands() -> Iterator[str]:
    yield "# Commands\n\nAs `--help` says it. What all of them share is told in [their conventions](../commands.md).\n"
    for name, whole in {"mts1b": app(), "mts1b-deploy": mts1b_deploy.cli.app, "mts1b-desk": mts1b_desk.cli.app}.items():
        yield f"## {name}\n"
        for path, command in _leaves(get_command(whole), name):
            with command.make_context(path, [], resilient_parsing=True) as context:
                yield f"### {path}\n\n```text\n{context.get_help()}\n```\n"


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    found = command.make_context(path, [], resilient_parsing=True).command
    if not isinstance(found, TyperGroup):
        yield path, found
        return
    for name, each in found.commands.items():
        yield from _leaves(each, f"{path} {name}")


def _schemas(models: set[Any]) -> Iterator[str]:
    yield "# Schemas\n\nJSON Schema (draft 2020-12) of every payload, by the value of its header `mts-schema`.\n"
    for model in sorted(models, key=lambda each: each.schema_id()):
        document = {name: part for name, part in schema_document(model).items() if name != "examples"}
        yield f"## {model.schema_id()}\n\n```json\n{json.dumps(document, indent=2)}\n```\n"
