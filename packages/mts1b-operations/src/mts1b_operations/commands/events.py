"""See events: as they pass, one stored one, those that a query means; export them, replay them."""

import asyncio
import json
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from mts1b_foundation.subjects import registry
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.eventbus.history.recorded import stamp_of
from mts1b_platform.output import Json, noun, print_json, say

from mts1b_operations.commands._bus import Servers, on_bus
from mts1b_operations.commands._events_options import (
    From,
    QueryError,
    Searching,
    Streams,
    To,
    nanoseconds_at,
    progress_line,
    stopped_by_signals,
    tell,
    understood,
    width,
)
from mts1b_operations.commands._finding import the_index
from mts1b_operations.commands._replaying import record, replay
from mts1b_operations.export.columns import Table
from mts1b_operations.export.csv_file import CsvFile
from mts1b_operations.export.json_lines import JsonLinesFile
from mts1b_operations.export.run import ExportError, ExportStopped, Forwards, payload_of
from mts1b_operations.export.run import export as write_all
from mts1b_operations.history.lines import Lines, clean
from mts1b_operations.history.matching import matches, patterns_of, streams_of
from mts1b_operations.history.query import Query
from mts1b_operations.history.sampling import Rate, Sampler
from mts1b_operations.history.search import MOST, WITHIN, Search, Searched
from mts1b_operations.history.seen import Decoders, Seen
from mts1b_operations.history.streams import open_streams
from mts1b_operations.history.tail import Tail, patterns_to_hear
from mts1b_operations.index.find import ByIndex, name_in
from mts1b_operations.people.rights import decoders_of
from mts1b_operations.story.names import Name

if TYPE_CHECKING:  # an extra: loaded when it is asked for
    from mts1b_operations.export.parquet import ParquetFile

app = noun(__doc__ or "")

_INTERRUPTED = 130
"""The exit code of what Ctrl-C ended."""
_ROOM = 20
"""Lines in a tenth of a second that a person's terminal shows."""


@app.command("tail")
def tail(
    subject: Annotated[str, typer.Argument(help="A subject or a pattern: oms.orders.created, mts.v1.marketdata.>")],
    *,
    query: Annotated[str, typer.Option("--query", "-q", help="Only the events that this query means.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", min=0, help="End after so many seconds.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every event, also when a terminal cannot follow.")] = False,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Show events as they pass, until Ctrl-C; ! marks what a strict consumer refuses.

    On a terminal that cannot follow, an even sample is shown, and every refused one; the counts are exact. Into a file
    or a pipe, and with --json (one document a line), everything goes.

    Example: mts1b events tail oms.orders.created

    Example: mts1b events tail 'mts.v1.>' -q '-subject:marketdata.> fund:alpha'
    """
    wanted = understood(query)
    patterns = patterns_to_hear(subject, registry())
    sampler = Sampler(None if every or as_json or not sys.stdout.isatty() else _ROOM)
    lines = Lines(width())

    async def work(bus: EventBus) -> None:
        rate = Rate(monotonic)
        stop = stopped_by_signals()
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, stop.set)
        async with Tail(bus, patterns, wanted, await decoders_of(bus)) as heard:
            tell(f"listening to {', '.join(patterns)}")
            try:
                async for frame in heard.frames(stop):
                    left = None if limit is None else limit - sampler.events
                    picked = sampler.pick(frame[:left])
                    text = "".join(f"{line}\n" for each in picked for line in _printed(each, lines, as_json=as_json))
                    if text:
                        await asyncio.to_thread(_write, text)
                    if limit is not None and sampler.events >= limit:
                        stop.set()
                        break
                    if said := rate.said(sampler):
                        tell(f"  {said}")
            finally:
                _tell_counts(sampler, heard)

    on_bus(work, servers)


@app.command("get")
def get(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    seq: Annotated[int, typer.Argument(help="The sequence.", min=1)],
    *,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Show one stored event: where it lies, its headers, its payload, and whether a strict consumer takes it.

    Example: mts1b events get OMS_ORDERS 12044
    """

    async def work(bus: EventBus) -> Seen:
        history = await open_history(bus, stream)
        found = await history.get(seq)
        if found is None:
            first, last = await history.extent()
            holds = f"it holds {first} to {last}" if last >= first else "it is empty"
            raise QueryError(f"{stream} has no message {seq}: {holds}; what was deleted in between is gone")
        return Seen(found, await decoders_of(bus))

    seen = on_bus(work, servers)
    if as_json:
        print_json(seen.to_json())
        return
    say(f"{seen.place}  {seen.recorded.stamp}")
    say(f"  {clean(seen.subject)}")
    say(f"  {clean(seen.summary)}")
    if seen.registered is None:
        say("  nobody registered this subject: no typed consumer reads it")
    say()
    for name, value in seen.headers.items():
        say(f"  {clean(name)}: {clean(value)}")
    say()
    document = seen.to_json()
    text = json.dumps(document["payload"], indent=2, ensure_ascii=False) if document["payload"] is not None else None
    say(clean(text if text is not None else document["payload_text"], keep="\n"))


@app.command("find")
def find(
    query: Annotated[str, typer.Argument(help="What to look for; see above.")],
    *,
    since: From = None,
    until: To = None,
    streams: Streams = None,
    limit: Annotated[int, typer.Option(min=1, help="Events that are shown at most.")] = 50,
    most: Annotated[int, typer.Option(min=1, help="Messages that are searched at most.")] = MOST,
    within: Annotated[float, typer.Option(min=0, help="Seconds that it takes at most.")] = WITHIN,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Find stored events, newest first; says how far it has searched and how to go on.

    A query is made of comparisons and text, side by side for and, with or, parentheses, and - for not:

    \b
      order:ID  trace:ID  intent:ID  signal:ID    what it is about, whatever the payload calls it
      subject:oms.orders.>  stream:RISK  by:mts1b-oms  id:MESSAGE-ID  schema:*Order*
      field:value  field:1..2  field>10  a.b:c    fields of the payload; * for any text
      header.mts-actor:NAME  refused:yes          headers; what a strict consumer refuses
      "insufficient margin"                       text anywhere in subject, headers, payload

    Example: mts1b events find order:desk-1.ma_cross.2.alpha

    Example: mts1b events find 'subject:oms.orders.rejected -fund:beta "notional"' --from 1h
    """  # noqa: D301 - the command line's mark for lines that stay as they are
    wanted = understood(query)
    lines = Lines(width())
    found: list[Seen] = []

    progress = Searching()

    def show(seen: Seen) -> None:
        found.append(seen)
        if not as_json:
            progress.clear()
            for line in lines.of(seen):
                say(line)

    async def work(bus: EventBus) -> Searched:
        names = streams or streams_of(wanted)
        histories, skipped = await open_streams(bus, names=names, patterns=patterns_of(wanted))
        since_ns, until_ns = nanoseconds_at(since), nanoseconds_at(until)
        decoders = await decoders_of(bus)
        if (name := name_in(wanted)) is not None:
            async with the_index(bus) as index:
                if index is not None:
                    finder = ByIndex(
                        index,
                        {each.stream: each for each in histories},
                        decoders,
                        most=most,
                        within=within,
                        hidden=skipped,
                    )
                    return await indexed(finder, wanted, name, since_ns, until_ns, limit, show)
        with progress:
            search = Search(
                histories,
                wanted,
                decoders,
                since_ns=since_ns,
                until_ns=until_ns,
                most=most,
                within=within,
                limit=limit,
                progress=progress,
            )
            search.searched.skipped = skipped
            async for seen in search.run():
                show(seen)
        return search.searched

    searched = on_bus(work, servers)
    go_on = None
    if not searched.complete and searched.back_to_ns is not None:
        go_on = _go_on(query, since, streams, limit, searched.back_to_ns)
    if as_json:
        print_json(
            {
                "events": [seen.to_json() for seen in found],
                "how": searched.how,
                "searched": searched.looked_at,
                "of": searched.of,
                "complete": searched.complete,
                "back_to": None if searched.back_to_ns is None or searched.complete else stamp_of(searched.back_to_ns),
                "go_on": go_on,
                "streams": searched.streams,
                "skipped": searched.skipped,
            }
        )
        return
    for name, why in searched.skipped.items():
        tell(f"{name} was not searched: {why}")
    if searched.how == "index":
        tell(f"{len(found)} found by the index" + ("" if go_on is None else f"; go on with\n  {go_on}"))
        return
    what = f"{len(found)} found; searched {searched.looked_at:,} of {searched.of:,}"
    if go_on is None:
        tell(f"{what}: everything that was asked for")
    else:
        tell(f"{what}, back to {stamp_of(searched.back_to_ns or 0)}; go on with\n  {go_on}")


class Format(StrEnum):
    """What is written."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


@app.command("export")
def export(
    query: Annotated[str, typer.Argument(help="Which events, as for find; for a table of one payload.")],
    file: Annotated[Path, typer.Argument(help="Where to write; the ending says what: .parquet, .csv, .jsonl.")],
    *,
    since: From = None,
    until: To = None,
    streams: Streams = None,
    form: Annotated[Format | None, typer.Option("--format", help="In place of the file's ending.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file when there is one.")] = False,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Write stored events to a file, oldest first. The file is complete, or it is not there.

    Parquet has decimals as decimal128 where a column fits into 38 digits, else as text, and its schema says which. In
    CSV a text that begins like a formula gets a leading apostrophe. JSON lines take events of any subjects, payloads
    byte by byte, and can be replayed. An event that a strict consumer refuses is written with the reason in place of
    its fields.

    Example: mts1b events export 'subject:oms.fills.created fund:alpha' fills.parquet --from 1d

    Example: mts1b events export 'trace:5f0c...' story.jsonl
    """
    wanted = understood(query)
    if file.exists() and not force:
        raise ExportError(f"{file} is there already: --force replaces it")
    kind = form or _format_of(file)
    part = file.with_name(f".{file.name}.part")

    async def work(bus: EventBus) -> tuple[int, int, Forwards]:
        stop = stopped_by_signals()
        names = streams or streams_of(wanted)
        histories, skipped = await open_streams(bus, names=names, patterns=patterns_of(wanted))
        for name, why in skipped.items():
            tell(f"{name} is left out: {why}")
        decoders = await decoders_of(bus)
        source = Forwards(histories, wanted, decoders, since_ns=nanoseconds_at(since), until_ns=nanoseconds_at(until))
        with _sink(kind, part, wanted, decoders) as sink, progress_line() as progress:
            written = await write_all(source, sink, stop=stop, progress=progress)
        return written, sink.refused, source

    _sink(kind, part, wanted, Decoders(registry()))  # what cannot be written is refused before a server is asked
    try:
        written, refused, source = on_bus(work, servers)
        part.replace(file)
    except ExportStopped as stopped:
        tell(f"mts1b: {stopped}")
        raise typer.Exit(_INTERRUPTED) from None
    except OSError as error:
        raise ExportError(f"{file} cannot be written: {error.strerror or error}; nothing was left behind") from None
    finally:
        part.unlink(missing_ok=True)
    if as_json:
        print_json(
            {"file": str(file), "format": kind.value, "events": written, "refused": refused, "read": source.read}
        )
    else:
        say(f"{written:,} events in {file}" + (f", of which a strict consumer refuses {refused:,}" if refused else ""))


def _format_of(file: Path) -> Format:
    known = {".parquet": Format.PARQUET, ".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}
    try:
        return known[file.suffix]
    except KeyError:
        raise ExportError(f"{file}: name it .parquet, .csv or .jsonl, or say --format") from None


def _sink(kind: Format, path: Path, query: Query, decoders: Decoders) -> "ParquetFile | CsvFile | JsonLinesFile":
    if kind is Format.JSONL:
        return JsonLinesFile(path, decoders)
    table = Table(payload_of(query, decoders), decoders)
    if kind is Format.CSV:
        return CsvFile(path, table)
    try:
        from mts1b_operations.export.parquet import ParquetFile
    except ImportError:
        raise ExportError(
            "Parquet needs pyarrow: pip install 'mts1b-operations[parquet]', or use --format csv"
        ) from None
    return ParquetFile(path, table)


def _go_on(query: str, since: str | None, streams: list[str] | None, limit: int, until_ns: int) -> str:
    parts = ["mts1b", "events", "find", query, "--to", stamp_of(until_ns)]
    parts += ["--from", since] if since else []
    parts += [part for each in streams or () for part in ("--stream", each)]
    parts += ["--limit", str(limit)] if limit != 50 else []
    return shlex.join(parts)


async def indexed(
    finder: ByIndex,
    query: Query,
    name: Name,
    since_ns: int | None,
    until_ns: int | None,
    limit: int,
    show: Callable[[Seen], object],
) -> Searched:
    """Find through the index, newest first."""
    low, high = since_ns or 0, until_ns if until_ns is not None else 1 << 63
    found = await finder.find([name])
    meant = sorted(
        (seen for seen in found.events if low <= seen.recorded.time_ns <= high and matches(query, seen)),
        key=lambda seen: -seen.recorded.time_ns,
    )
    for seen in meant[:limit]:
        show(seen)
    last = meant[limit - 1].recorded.time_ns if len(meant) > limit else None
    complete = last is None and found.complete
    back = last - 1 if last is not None else None
    return Searched(
        of=len(found.events),
        looked_at=len(found.events),
        complete=complete,
        back_to_ns=back,
        streams=tuple(sorted({seen.recorded.stream for seen in meant})),
        skipped=found.hidden,
        how="index",
    )


def _printed(seen: Seen, lines: Lines, *, as_json: bool) -> list[str]:
    return [json.dumps(seen.to_json(), default=str)] if as_json else list(lines.of(seen))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell_counts(sampler: Sampler, heard: Tail) -> None:
    said = [f"{sampler.events:,} events"]
    if sampler.shown != sampler.events:
        said.append(f"{sampler.shown:,} shown")
    said.append(f"{sampler.refused:,} refused")
    if heard.heard != sampler.events:
        said.append(f"{heard.heard:,} heard in all")
    if heard.dropped:
        said.append(f"{heard.dropped:,} lost here: more came than could be looked at; narrow the subject")
    if heard.from_history:
        said.append(f"{heard.from_history:,} answers of streams that somebody has sent here were left out")
    tell("; ".join(said))
    for pattern, count in sampler.subjects.most_common(20):
        tell(f"  {count:>9,}  {pattern}")


app.command("record")(record)
app.command("replay")(replay)
