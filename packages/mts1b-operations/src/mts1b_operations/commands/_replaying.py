"""``mts1b events record`` and ``replay``."""

import asyncio
import sys
from collections.abc import AsyncIterable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Annotated

import typer
from mts1b_foundation.subjects import registry
from mts1b_platform import command_line
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.output import Json, print_json, say
from mts1b_platform.server import NatsServer

from mts1b_operations.commands._bus import REPO, Servers, on_bus
from mts1b_operations.commands._events_options import (
    From,
    QueryError,
    Streams,
    To,
    nanoseconds_at,
    stopped_by_signals,
    tell,
    understood,
)
from mts1b_operations.export.run import ExportError, Forwards
from mts1b_operations.history.matching import patterns_of, streams_of
from mts1b_operations.history.seen import Decoders
from mts1b_operations.history.streams import open_streams
from mts1b_operations.history.tail import patterns_to_hear
from mts1b_operations.replay.hear import record as hear
from mts1b_operations.replay.into import Replay, Replayed, refuse_the_same_bus
from mts1b_operations.replay.recording import Origin, Recording, origin_of, read_origin, read_recording


def record(
    subject: Annotated[str, typer.Argument(help="A subject or a pattern, as for tail.")],
    file: Annotated[Path, typer.Argument(help="The recording, which is made: JSON lines.")],
    *,
    seconds: Annotated[float | None, typer.Option("--for", min=0, help="End after so many seconds.")] = None,
    servers: Servers = None,
) -> None:
    """Record events as they pass, best effort or durable, until Ctrl-C; what was written is always a recording.

    Example: mts1b events record 'marketdata.>' session.jsonl
    """
    patterns = patterns_to_hear(subject, registry())

    async def work(bus: EventBus) -> tuple[int, int]:
        stop, ready = stopped_by_signals(), asyncio.Event()
        try:
            recording = Recording(file, await origin_of(bus))
        except FileExistsError:
            raise ExportError(f"{file} is there already: name another file") from None
        except OSError as error:
            raise ExportError(f"{file} cannot be written: {error.strerror}") from None
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, stop.set)
        with recording:
            tell(f"recording {', '.join(patterns)}")
            return await hear(bus, patterns, recording, stop, ready), recording.events

    lost, events = on_bus(work, servers)
    say(f"{events:,} events in {file}" + (f"; {lost:,} were lost, as more came than was written" if lost else ""))
    if lost:
        raise typer.Exit(1)


def replay(
    query: Annotated[
        str | None, typer.Argument(help="Which stored events, as for find; or name a recording by --file.")
    ] = None,
    *,
    file: Annotated[Path | None, typer.Option("--file", help="A recording, or an export as JSON lines.")] = None,
    into: Annotated[
        str | None, typer.Option("--into", help="URL of the other bus. Without: a server of its own.", metavar="URL")
    ] = None,
    speed: Annotated[str, typer.Option(help="How many times as fast as it happened, or max.")] = "1",
    since: From = None,
    until: To = None,
    streams: Streams = None,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Publish recorded events on another bus: same subjects, order, spacing, headers and message ids.

    Never into the bus that they come from. Each event gets a header mts-replayed-from. Message ids stay, so that a
    stream that has an event already, and consumers that act once, recognise it. Without --into a server of its own is
    started, with all streams; it stays until Ctrl-C.

    Example: mts1b events replay 'subject:oms.> fund:alpha' --from 1h --speed 10

    Example: mts1b events replay --file session.jsonl --into nats://127.0.0.1:4333 --speed max
    """
    if (query is None) == (file is None):
        raise QueryError("name what to replay: a query, or a recording by --file")
    pace = _speed(speed)
    wanted, decoders = understood(query or ""), Decoders(registry(), masks=False)

    async def run() -> Replayed:
        stop = stopped_by_signals()
        origin: Origin = read_origin(file) if file is not None else {}
        async with AsyncExitStack() as stack:
            source: EventBus | None = None
            if file is None:
                settings = Settings.load()
                service = REPO if settings.service is None and settings.tls_dir is not None else None
                source = await stack.enter_async_context(await connect(servers, service=service))
                origin = await origin_of(source)
            target = await stack.enter_async_context(await _target(stack, into))
            await refuse_the_same_bus(target, origin, source)
            events: AsyncIterable[list[Recorded]]
            if source is None:
                events = await stack.enter_async_context(aclosing(read_recording(file or Path())))
            else:
                histories, skipped = await open_streams(
                    source, names=streams or streams_of(wanted), patterns=patterns_of(wanted)
                )
                for name, why in skipped.items():
                    tell(f"{name} is left out: {why}")
                forwards = Forwards(
                    histories, wanted, decoders, since_ns=nanoseconds_at(since), until_ns=nanoseconds_at(until)
                )
                events = await stack.enter_async_context(aclosing(forwards.run()))
            replaying = Replay(target, registry(), speed=pace)
            await replaying.run(events, stop, _progress)
            if not as_json:
                _told(replaying.replayed)
            if into is None and not stop.is_set():
                tell(f"the replay is at {target.connected_url} until Ctrl-C")
                await stop.wait()
            return replaying.replayed

    done = asyncio.run(run())
    if as_json:
        print_json(
            {
                "published": done.published,
                "stored": done.stored,
                "duplicates": done.duplicates,
                "not_stored": dict(done.nowhere),
            }
        )
    if done.nowhere:
        raise typer.Exit(1)


async def _target(stack: AsyncExitStack, into: str | None) -> EventBus:
    if into is not None:
        return await connect(into)
    server = await stack.enter_async_context(NatsServer())
    bus = await connect(server.url)
    await apply_streams(bus, streams=declared().streams)
    tell(f"started a server of the replay's own at {server.url}, with all streams")
    return bus


def _speed(text: str) -> float | None:
    try:
        return command_line.speed(text)
    except ValueError:
        raise QueryError(f"--speed {text}: write a number above 0, such as 10, or max") from None


def _progress(done: Replayed) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{done.published:,} published, {done.stored:,} stored")
        sys.stderr.flush()


def _told(done: Replayed) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    known = f", of which {done.duplicates:,} were there already" if done.duplicates else ""
    say(f"{done.published:,} events replayed; {done.stored:,} stored{known}")
    for subject, count in done.nowhere.most_common():
        tell(f"{count:,} on {subject} were stored nowhere: no stream of the target takes them")
