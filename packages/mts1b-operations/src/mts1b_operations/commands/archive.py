"""The archive: what streams held and audit logs say, in Parquet files that outlive both."""

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from mts1b_foundation.subjects import registry
from mts1b_platform.eventbus import EventBus
from mts1b_platform.output import Json, noun, print_json, print_listing, say

from mts1b_operations.commands._bus import Servers, on_bus
from mts1b_operations.commands._events_options import From, To, nanoseconds_at, tell, understood, width
from mts1b_operations.history.lines import Lines
from mts1b_operations.history.seen import Decoders, Seen

if TYPE_CHECKING:
    from mts1b_operations.archive.look import Due
    from mts1b_operations.archive.manifest import Manifest

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The archive.")]

app = noun(__doc__ or "")


@app.command("run")
def run(
    directory: Directory,
    *,
    audit: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="An audit log to archive as well. Repeatable.")
    ] = None,
    copy_to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A second place for the same files, such as a mounted disk.")
    ] = None,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Archive what streams have stored since the last run, a file for each stream and day: once a day.

    Exit code 1 when something had left its stream before; the manifest says what. Streams that keep less than a day
    hold probes and are left out.

    Example: mts1b archive run /var/lib/mts1b-archive --audit /var/lib/mts1b-act
    """
    from mts1b_operations.archive.run import run as archive

    async def work(bus: EventBus) -> "Manifest":
        return await archive(bus, directory, audit=audit or (), copy_to=copy_to)

    made = on_bus(work, servers)
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        for stream in made.streams:
            if stream.files:
                say(f"{stream.name}: {sum(file.events for file in stream.files):,} events, through {stream.through:,}")
        say(f"manifest {made.number}, {len(made.chains)} chains of audit logs")
    for stream in made.lost:
        first, last = stream.lost or (0, 0)
        tell(f"mts1b: {stream.name}: sequences {first:,} to {last:,} had left the stream before they were archived")
    raise typer.Exit(1 if made.lost else 0)


@app.command("status")
def status(
    directory: Directory,
    *,
    warn: Annotated[float, typer.Option(min=0, metavar="HOURS", help="Too near.")] = 36.0,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Say what of each stream is not archived yet, and in how many hours the first of it would leave the stream.

    Exit code 1 when that is nearer than `--warn` says.

    Example: mts1b archive status /var/lib/mts1b-archive
    """
    from mts1b_operations.archive.look import due

    async def work(bus: EventBus) -> "list[Due]":
        return await due(bus, directory)

    found = on_bus(work, servers)
    rows = [asdict(each) | {"hours": None if each.hours is None else round(each.hours, 1)} for each in found]
    print_listing(rows, as_json=as_json, empty="no streams")
    near = [each for each in found if each.hours is not None and each.hours < warn]
    for each in near:
        tell(
            f"mts1b: {each.stream}: {each.messages:,} messages are not archived, and the first leaves the stream in "
            f"{each.hours or 0:.1f} hours: `mts1b archive run {directory}`"
        )
    raise typer.Exit(1 if near else 0)


@app.command("verify")
def verify(directory: Directory, *, as_json: Json = False) -> None:
    """Compare every file with the manifests, these with each other, and audit logs with their noted heads.

    Exit code 1 when something is missing or was changed.

    Example: mts1b archive verify /var/lib/mts1b-archive
    """
    from mts1b_operations.archive.look import verify as check

    found = check(directory)
    if as_json:
        print_json(asdict(found))
    else:
        for problem in found.problems:
            say(problem)
        say(
            f"{found.manifests} manifests, {found.files:,} files, {found.events:,} events, {found.chains} chains of "
            f"audit logs: {'whole' if not found.problems else 'NOT whole'}"
        )
    raise typer.Exit(1 if found.problems else 0)


@app.command("find")
def find(
    directory: Directory,
    query: Annotated[str, typer.Argument(help="What to look for, as for `mts1b events find`.")],
    *,
    since: From = None,
    until: To = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Events that are shown at most.")] = None,
    as_json: Json = False,
) -> None:
    """Find archived events, also when their stream has long forgotten them; needs no server.

    With --json one document a line.

    Example: mts1b archive find /var/lib/mts1b-archive 'subject:oms.orders.> fund:alpha' --from 2026-03-01T00:00Z
    """
    from mts1b_operations.archive.look import find as look_for

    lines, count = Lines(width()), 0
    events = look_for(
        directory,
        understood(query),
        Decoders(registry(), masks=False),
        since_ns=nanoseconds_at(since),
        until_ns=nanoseconds_at(until),
    )
    for seen in islice(events, limit):
        count += 1
        _show(seen, lines, as_json=as_json)
    tell(f"{count:,} found{', and maybe more' if count == limit else ''}")


def _show(seen: Seen, lines: Lines, *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(seen.to_json(), default=str))
        return
    for line in lines.of(seen):
        say(line)
