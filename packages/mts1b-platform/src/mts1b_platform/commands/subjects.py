"""Who publishes what: list, look up and check the registry."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mts1b_platform.findings import report, sources_of
from mts1b_platform.output import Json, noun, print_json, print_listing, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mts1b_foundation.subjects import Subject
    from mts1b_foundation.subjects.sources import Sources

app = noun(__doc__ or "")

Paths = Annotated[list[Path] | None, typer.Argument(help="Checkouts to look at. Default: here.", show_default=False)]
Format = Literal["markdown", "asyncapi", "jsonschema", "typescript"]


@app.command("ls")
def ls(
    *,
    producer: Annotated[str | None, typer.Option(help="Only what this repo publishes, such as mts1b-oms.")] = None,
    as_json: Json = False,
) -> None:
    """List every registered subject, its owner, payload and guarantee.

    Example: mts1b subjects ls --producer mts1b-oms
    """
    rows = [
        {
            "subject": subject.pattern,
            "producer": subject.producer,
            "payload": subject.schema_id,
            "tier": subject.tier.value,
            "description": subject.description,
        }
        for source in sources_of(None)
        for subject in source.subjects
        if producer in (None, subject.producer)
    ]
    if not as_json:
        rows = [{**row, "payload": row["payload"].rpartition(".")[2]} for row in rows]
    columns = ("subject", "producer", "payload", "tier")
    print_listing(rows, as_json=as_json, columns=columns, empty="no subject matches")


@app.command("show")
def show(
    subject: Annotated[str, typer.Argument(help="As registered, a concrete subject, or a pattern.")],
    *,
    as_json: Json = False,
) -> None:
    """Show everything about one subject: forms on the wire, owner, payload, stream, message id.

    Of a pattern every subject that it matches; --json prints a list.

    Example: mts1b subjects show mts.v1.marketdata.quotes.{symbol}
    """
    from mts1b_foundation.errors import UnknownSubject
    from mts1b_foundation.views.words import fields_in_words

    sources = sources_of(None)
    shown = [
        {
            "subject": found.pattern,
            "description": found.description,
            "producer": found.producer,
            "payload": found.schema_id,
            "tier": found.tier.value,
            "message_id": found.dedupe_key,
            "on_the_wire": list(found.patterns),
            "streams": _streams(sources, found.patterns),
            "replaces": found.replaces.pattern if found.replaces else None,
            "declared_at": str(found.declared_at),
            "fields": fields_in_words(found.payload),
        }
        for found in _matching(sources, subject)
    ]
    if not shown:
        raise UnknownSubject(f"no registered subject matches {subject!r}: `mts1b subjects ls` lists those that are")
    if as_json:
        print_json(shown)
        return
    for facts in shown:
        fields: dict[str, str] = facts.pop("fields")  # pyright: ignore[reportAssignmentType]
        for name, value in facts.items():
            words = ", ".join(value) if isinstance(value, list) else value
            say(f"{name.replace('_', ' '):12}  {words or '-'}")
        say("fields")
        width = max(map(len, fields), default=0)
        for name, kind in fields.items():
            say(f"  {name:{width}}  {kind}")
        say("")


@app.command("who")
def who(
    pattern: Annotated[str, typer.Argument(help="A concrete subject, or a pattern such as 'mts.v1.oms.>'.")],
    *,
    as_json: Json = False,
) -> None:
    """Who owns a subject or pattern: the registered subjects that match, their producers and streams.

    Example: mts1b subjects who 'mts.v1.oms.>'
    """
    sources = sources_of(None)
    rows = [row for subject in _matching(sources, pattern) for row in _owners(sources, subject, pattern)]
    print_listing(rows, as_json=as_json, empty=f"nobody: no registered subject matches {pattern}")
    if not rows:
        raise typer.Exit(1)


@app.command("check")
def check(
    paths: Paths = None,
    *,
    against: Annotated[
        str | None, typer.Option("--against", metavar="REV", help="Also compare schemas with this git revision.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fail with one line per broken rule: grammar, owners, streams, consumers, schemas, rendered views.

    Example: mts1b subjects check ../my-service --json
    """
    sources = sources_of(paths)
    from mts1b_foundation.schemas.lint import check_schemas
    from mts1b_foundation.subjects.lint import check_registry
    from mts1b_foundation.views.lint import check_views

    findings = [*check_registry(sources), *check_schemas(sources, against=against), *check_views(sources)]
    report(sorted(findings), sources, as_json=as_json)


@app.command("render")
def render(
    paths: Paths = None,
    *,
    form: Annotated[Format, typer.Option("--format", help="What to render.")] = "markdown",
    out: Annotated[Path | None, typer.Option(help="Write here; a folder for jsonschema.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write subjects.md of every checkout that has subjects.")
    ] = False,
) -> None:
    """Render the registry for other tools and languages, on standard output or into a file.

    Example: mts1b subjects render --format asyncapi --out asyncapi.json
    """
    sources = sources_of(paths)
    from mts1b_foundation.subjects.lint import grammar
    from mts1b_foundation.views.lint import rendered

    if broken := sorted(grammar(sources)):  # what is broken cannot be shown, and must not be left out in silence
        report(broken, sources, as_json=False)
    if write:
        for source in sources:
            if view := rendered(source):
                path, text = view
                path.write_text(text)
                say(f"wrote {path}")
        return
    subjects = [subject for source in sources for subject in source.subjects]
    if form == "jsonschema" and out is not None:
        _write_schemas(subjects, out)
        return
    text = _render(form, sources, subjects)
    if out is None:
        say(text.rstrip("\n"))
    else:
        out.write_text(text)
        say(f"wrote {out}")


def _render(form: Format, sources: "Sources", subjects: "list[Subject[Any]]") -> str:
    from importlib.metadata import version

    from mts1b_foundation import views
    from mts1b_foundation.subjects.sources import grants_of

    match form:
        case "markdown":
            producers = {
                repo: token for s in sources if s.contribution for repo, token in s.contribution.producers.items()
            }
            return views.markdown(subjects, producers, grants_of(sources))
        case "asyncapi":
            return json.dumps(views.asyncapi(subjects, version=version("mts1b-foundation")), indent=2) + "\n"
        case "jsonschema":
            return json.dumps(views.jsonschema(subjects), indent=2) + "\n"
        case "typescript":
            return views.typescript(subjects)


def _owners(sources: "Sources", subject: "Subject[Any]", pattern: str) -> "Iterator[dict[str, Any]]":
    """Who publishes what of ``subject`` matches ``pattern``: its producer, and those it has granted a part to."""
    from mts1b_foundation.subjects.algebra import common, contains, overlaps
    from mts1b_foundation.subjects.sources import grants_of

    named = subject.pattern == pattern
    forms = [form for form in subject.patterns if named or overlaps(pattern, form)]
    about = {"payload": subject.schema_id, "tier": subject.tier.value, "stream": _streams(sources, forms)}
    handed_on = [each for each in grants_of(sources) if each.by == subject.producer]
    if not all(any(contains(each.pattern, _asked(pattern, form, named)) for each in handed_on) for form in forms):
        yield {"subject": subject.pattern, "producer": subject.producer, **about}
    for each in handed_on:
        for form in forms:
            if overlaps(each.pattern, asked := _asked(pattern, form, named)):
                yield {"subject": common(each.pattern, asked), "producer": each.to, **about}


def _asked(pattern: str, form: str, named: bool) -> str:  # noqa: FBT001 - whether the subject was named as registered
    from mts1b_foundation.subjects.algebra import common

    return form if named else common(pattern, form)


def _write_schemas(subjects: "list[Subject[Any]]", folder: Path) -> None:
    from mts1b_foundation.schemas.document import file_name, render, schema_document

    folder.mkdir(parents=True, exist_ok=True)
    for model in dict.fromkeys(subject.payload for subject in subjects):
        path = folder / file_name(model)
        path.write_text(render(schema_document(model)))
        say(f"wrote {path}")


def _streams(sources: "Sources", forms: "tuple[str, ...] | list[str]") -> list[str]:
    from mts1b_foundation.subjects.algebra import overlaps

    return [
        stream.name
        for source in sources
        for stream in source.streams
        if any(overlaps(each, form) for each in stream.subjects for form in forms)
    ]


def _matching(sources: "Sources", pattern: str) -> "list[Subject[Any]]":
    """What is registered under this name, else what the concrete subject or pattern matches."""
    from mts1b_foundation.errors import InvalidSubject
    from mts1b_foundation.subjects.algebra import is_pattern, overlaps

    subjects = [subject for source in sources for subject in source.subjects]
    if named := [subject for subject in subjects if subject.pattern == pattern]:
        return named
    if not is_pattern(pattern):
        raise InvalidSubject(
            f"{pattern!r} is no subject and no pattern: dots separate tokens, * is one token, > stands at the end"
        )
    return [subject for subject in subjects if any(overlaps(pattern, form) for form in subject.patterns)]
