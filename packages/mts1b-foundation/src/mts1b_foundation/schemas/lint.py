"""The rule of the schemas: within a version, only changes that every reader on both sides can read.

Each payload is compared with the snapshot kept beside its package, and with the snapshot of a git revision when one
is given (a snapshot edited together with the model would otherwise hide the change).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mts1b_foundation.declared import Site, site_of
from mts1b_foundation.event import Event
from mts1b_foundation.schemas.changes import Change, Compatibility, overall
from mts1b_foundation.schemas.diff import diff
from mts1b_foundation.schemas.document import file_name, render, schema_document
from mts1b_foundation.schemas.snapshots import FOLDER, kept, kept_at
from mts1b_foundation.subjects.findings import Finding
from mts1b_foundation.subjects.sources import Source, Sources

RECIPE = "undo it, or raise schema_version and keep the old model beside it (docs/schemas.md has the recipe)"


def models_of(source: Source) -> dict[str, type[Event]]:
    """The payload models that live in the package of ``source``, old versions included, by snapshot file name."""
    if source.contribution is None or source.package is None:
        return {}
    found: list[type[Event]] = [subject.payload for subject in source.subjects]
    found += [model for step in source.contribution.upcasters for model in (step.old, step.new)]
    return {file_name(model): model for model in found if model.__module__.partition(".")[0] == source.module}


def folder_of(source: Source) -> Path | None:
    """Where the snapshots of ``source`` are kept."""
    return source.package / FOLDER if source.package is not None else None


def check_schemas(sources: Sources, *, against: str | None = None) -> list[Finding]:
    """Every schema that broke the rule, sorted by place.

    Args:
        sources: what is declared; installed packages are compared with the snapshots that they ship.
        against: a git revision whose snapshots count as released, for checkouts.

    Raises:
        SnapshotError: snapshots cannot be read.
    """
    findings: set[Finding] = set()
    for source in sources:
        folder = folder_of(source)
        if folder is None:
            continue
        models, snapshots = models_of(source), kept(folder)
        findings.update(_kept_rules(models, snapshots, folder))
        released = kept_at(folder, against) if against is not None and source.root is not None else {}
        for name in models.keys() & released.keys():
            document = schema_document(models[name])
            findings.update(_changed(models[name], document, released[name], f"since {against}"))
    return sorted(findings)


def changes_of(model: type[Event], released: Mapping[str, Any]) -> list[Change]:
    """What became different between a snapshot and the model as it is."""
    return diff(released, schema_document(model))


def write_snapshots(source: Source, *, unreleased: bool = False) -> tuple[list[str], list[Finding]]:
    """Write the snapshots of ``source``; gives the names written, and the changes that were refused instead.

    Args:
        source: the repo whose models are written.
        unreleased: overwrite whatever changed, as nobody has published or stored the version yet.
    """
    folder = folder_of(source)
    written: list[str] = []
    refused: list[Finding] = []
    if folder is None:
        return written, refused
    snapshots = kept(folder)
    for name, model in models_of(source).items():
        document = schema_document(model)
        if (
            name in snapshots
            and not unreleased
            and (broken := list(_changed(model, document, snapshots[name], "since it was kept")))
        ):
            refused += broken
        elif snapshots.get(name) != document:
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(render(document))
            written.append(name)
    return written, refused


def _kept_rules(
    models: Mapping[str, type[Event]], snapshots: Mapping[str, Mapping[str, Any]], folder: Path
) -> Iterator[Finding]:
    for name, model in models.items():
        if name not in snapshots:
            yield Finding(
                site_of(model),
                "schema-missing",
                f"{model.schema_id()} has no snapshot in {FOLDER}/",
                "write it with `mts1b schemas write` and commit it",
            )
            continue
        document = schema_document(model)
        changed = list(_changed(model, document, snapshots[name], "since its snapshot"))
        yield from changed
        if not changed and snapshots[name] != document:
            yield Finding(
                Site(str(folder / name), 1),
                "schema-stale",
                f"{model.schema_id()} changed in a way that all readers can read, and its snapshot is behind",
                "write it with `mts1b schemas write` and commit it",
            )
    for name in snapshots.keys() - models.keys():
        yield Finding(
            Site(str(folder / name), 1),
            "schema-orphan",
            f"{name} is the snapshot of a schema that no registered payload and no upcaster has",
            "register its model again, or delete the snapshot when no stream holds its events any more",
        )


def _changed(
    model: type[Event], document: Mapping[str, Any], released: Mapping[str, Any], since: str
) -> Iterator[Finding]:
    """The changes to ``document`` that are not full, and the kept examples that the model no longer takes."""
    changes = diff(released, document)
    for change in changes:
        if change.compatibility is not Compatibility.FULL:
            yield Finding(
                site_of(model, change.path),
                "schema-changed",
                f"{model.schema_id()} changed {since}: {change}",
                RECIPE,
            )
    if overall(changes) is not Compatibility.FULL:
        return
    for number, example in enumerate(released.get("examples", ())):
        try:
            model.model_validate_json(json.dumps(example))
        except ValidationError as error:
            yield Finding(
                site_of(model),
                "schema-changed",
                f"{model.schema_id()} changed {since}: it refuses example {number} of its snapshot: "
                f"{error.errors()[0]['msg']} (breaking)",
                RECIPE,
            )
