"""Exporting what a query means: written as it is read; a file that is not complete ends as a broken download."""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from aiohttp import web
from mts1b_operations.export.columns import Table
from mts1b_operations.export.csv_file import cell
from mts1b_operations.export.json_lines import line_of
from mts1b_operations.export.run import Forwards, payload_of
from mts1b_operations.history.matching import nonsense, patterns_of, streams_of
from mts1b_operations.history.moments import moment
from mts1b_operations.history.query import Query, parse
from mts1b_operations.history.streams import open_streams
from mts1b_platform.eventbus.history.recorded import Recorded

from mts1b_console.person.person import Person
from mts1b_console.problems import Refused
from mts1b_console.read.answer import reachable
from mts1b_console.web.keys import SESSION

Lines = Callable[[Sequence[Recorded]], bytes]
_TYPES: Final = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
_PART: Final = 256 * 1024
_EXPORTS: Final = 1
"""Exports of one person at a time."""


async def export(request: web.Request) -> web.StreamResponse:
    """The events of ``q`` between ``from`` and ``to``, oldest first, as ``format`` csv, jsonl or parquet."""
    person, form = request[SESSION].person, request.query.get("format", "jsonl")
    if form not in _TYPES:
        raise Refused(400, "bad-request", f"{form[:40]!r} is no format", f"one of {', '.join(_TYPES)}")
    query = _understood(request.query.get("q", ""))
    reachable(person)
    async with person.at_most(_EXPORTS, "exports"):
        present = datetime.now(UTC)
        since, until = request.query.get("from"), request.query.get("to")
        if form != "jsonl":
            payload_of(query, person.decoders)  # refused before anything is read
        histories, _ = await open_streams(person.bus, names=streams_of(query), patterns=patterns_of(query))
        source = Forwards(
            histories,
            query,
            person.decoders,
            since_ns=moment(since, present) if since else None,
            until_ns=moment(until, present) if until else None,
        )
        name = f"mts1b-{present:%Y%m%dT%H%M%SZ}.{form}"
        parts = _parquet(source, query, person) if form == "parquet" else _text(form, source, query, person)
        return await _sent(request, parts, name, _TYPES[form])


async def _sent(request: web.Request, parts: AsyncGenerator[bytes], name: str, kind: str) -> web.StreamResponse:
    """A download of ``parts``; one that cannot be finished ends as a broken one, as it would pass for complete."""
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{name}"'})
    response.content_type = kind
    async with aclosing(parts):
        first = await anext(parts, b"")  # what cannot be begun is answered in words
        await response.prepare(request)
        try:
            await response.write(first)
            async for part in parts:
                await response.write(part)
        except BaseException:
            if request.transport is not None:
                request.transport.abort()
            raise
    await response.write_eof()
    return response


async def _text(form: str, source: Forwards, query: Query, person: Person) -> AsyncGenerator[bytes]:
    """Lines, as they are read."""
    head, lines = _writer(form, query, person)
    yield head
    async with aclosing(source.run()) as batches:
        async for batch in batches:
            if batch:
                yield lines(batch)


async def _parquet(source: Forwards, query: Query, person: Person) -> AsyncGenerator[bytes]:
    """A file, which is sent when it is whole: its directory stands at its end."""
    try:
        from mts1b_operations.export.parquet import ParquetFile
    except ImportError:
        raise Refused(
            501,
            "no-parquet",
            "Parquet needs a package that is not installed here",
            "pip install 'mts1b-console[parquet]'",
        ) from None
    with TemporaryDirectory(prefix="mts1b-export-") as folder:
        path = Path(folder) / "events.parquet"
        with ParquetFile(path, Table(payload_of(query, person.decoders), person.decoders)) as file:
            async with aclosing(source.run()) as batches:
                async for batch in batches:
                    file.write(batch)
                    await asyncio.sleep(0)
        with path.open("rb") as opened:
            while part := opened.read(_PART):
                yield part


def _understood(text: str) -> Query:
    parsed = parse(text)
    if parsed.problems:
        problem = parsed.problems[0]
        raise Refused(400, "bad-request", f"the query, at letter {problem.at + 1}: {problem.words}", "see the help")
    if (why := nonsense(parsed.query)) is not None:
        raise Refused(400, "bad-request", why, "see the help")
    return parsed.query


def _writer(form: str, query: Query, person: Person) -> tuple[bytes, Lines]:
    """The beginning of a file, and what makes events into its lines."""
    if form == "jsonl":
        shown = person.decoders.shown
        return b"", lambda batch: b"".join([line_of(shown(recorded)) for recorded in batch])
    table = Table(payload_of(query, person.decoders), person.decoders)
    names = [each.name for each in table.columns]

    def rows(batch: Sequence[Recorded]) -> bytes:
        values = table.values(batch)
        return _csv(zip(*([cell(value) for value in values[name]] for name in names), strict=True))

    return _csv([tuple(names)]), rows


def _csv(rows: "zip[tuple[object, ...]] | list[tuple[str, ...]]") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
