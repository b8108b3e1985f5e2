"""The shape of payloads: list, compare with what was released, keep snapshots."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from mts1b_foundation.errors import Mts1bError

from mts1b_platform.output import Json, noun, print_json, print_listing, say

if TYPE_CHECKING:
    from mts1b_foundation.subjects.findings import Finding
    from mts1b_foundation.subjects.sources import Sources

app = noun(__doc__ or "")

Paths = Annotated[list[Path] | None, typer.Argument(help="Checkouts to look at. Default: here.", show_default=False)]
Against = Annotated[
    str | None, typer.Option("--against", metavar="REV", help="Compare with the snapshots of this git revision.")
]


class UnknownSchema(Mts1bError):
    """No registered payload has this schema."""


@app.command("ls")
def ls(paths: Paths = None, *, as_json: Json = False) -> None:
    """List the schema of every payload, and whether its snapshot is kept.

    Example: mts1b schemas ls
    """
    from mts1b_foundation.schemas.lint import folder_of, models_of
    from mts1b_foundation.schemas.snapshots import kept

    rows: list[dict[str, object]] = []
    for source in _sources(paths):
        folder = folder_of(source)
        snapshots = kept(folder) if folder else {}
        for name, model in models_of(source).items():
            rows.append(
                {
                    "schema": model.schema_id(),
                    "repo": source.name,
                    "fields": len(model.model_fields),
                    "snapshot": name if name in snapshots else None,
                }
            )
    print_listing(rows, as_json=as_json)


@app.command("show")
def show(schema: Annotated[str, typer.Argument(help="Such as mts1b_foundation.orders.Order:v1.")]) -> None:
    """Print the JSON Schema of one payload.

    Example: mts1b schemas show mts1b_foundation.orders.Order:v1
    """
    from mts1b_foundation.schemas import schema_document
    from mts1b_foundation.schemas.lint import models_of

    for source in _sources(None):
        for model in models_of(source).values():
            if schema in (model.schema_id(), model.__name__):
                print_json(schema_document(model))
                return
    raise UnknownSchema(f"no registered payload has the schema {schema!r}: `mts1b schemas ls` lists those that do")


@app.command("diff")
def diff(paths: Paths = None, *, against: Against = None, as_json: Json = False) -> None:
    """Show every change since the snapshots, classified, field by field.

    Example: mts1b schemas diff --against main
    """
    from mts1b_foundation.schemas.lint import changes_of, folder_of, models_of
    from mts1b_foundation.schemas.snapshots import kept, kept_at

    rows: list[dict[str, object]] = []
    for source in _sources(paths):
        folder = folder_of(source)
        if folder is None or (against and source.root is None):
            continue
        released, models = kept_at(folder, against) if against else kept(folder), models_of(source)
        for name in sorted(models.keys() | released.keys()):
            if name not in models:
                rows.append({"schema": name, "field": "", "change": "removed", "class": "breaking"})
            elif name not in released:
                rows.append({"schema": models[name].schema_id(), "field": "", "change": "new", "class": "full"})
            else:
                schema = models[name].schema_id()
                for change in changes_of(models[name], released[name]):
                    kind = change.compatibility.value
                    rows.append({"schema": schema, "field": change.path, "change": change.what, "class": kind})
    print_listing(rows, as_json=as_json, empty="no payload changed")


@app.command("check")
def check(paths: Paths = None, *, against: Against = None, as_json: Json = False) -> None:
    """Fail when a payload changed within its version in a way that some reader cannot read.

    Example: mts1b schemas check --against origin/main
    """
    from mts1b_foundation.schemas.lint import check_schemas

    from mts1b_platform.findings import report

    sources = _sources(paths)
    report(check_schemas(sources, against=against), sources, as_json=as_json)


@app.command("write")
def write(
    paths: Paths = None,
    *,
    unreleased: Annotated[
        bool, typer.Option("--unreleased", help="Overwrite any change: nobody has published this version yet.")
    ] = False,
) -> None:
    """Write the snapshots of the checkouts; refuses changes that need a new version.

    Example: mts1b schemas write ../my-service
    """
    from mts1b_foundation.schemas.lint import write_snapshots

    from mts1b_platform.findings import report

    sources = [source for source in _sources(paths) if source.root is not None]
    refused: list[Finding] = []
    for source in sources:
        written, broken = write_snapshots(source, unreleased=unreleased)
        refused += broken
        for name in written:
            say(f"wrote {name}")
    if refused:
        report(refused, sources, as_json=False)


def _sources(paths: list[Path] | None) -> "Sources":
    from mts1b_platform.findings import sources_of

    return sources_of(paths)
