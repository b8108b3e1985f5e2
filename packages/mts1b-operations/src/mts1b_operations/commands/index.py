"""The index of events: from an order, intent, signal, trace or message id to where its events lie, at once."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import registry
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus
from mts1b_platform.output import Json, noun, print_json, print_listing, say
from mts1b_platform.service.findable import be_found

from mts1b_operations.commands._bus import Servers, on_bus
from mts1b_operations.commands._events_options import stopped_by_signals, tell
from mts1b_operations.history.seen import Decoders
from mts1b_operations.history.streams import open_streams
from mts1b_operations.index.feed import Feed, Indexed, valid_marks
from mts1b_operations.index.store import IndexStore

app = noun(__doc__ or "")

File = Annotated[Path | None, typer.Argument(help="The index. Default: the setting index_file.")]


class NoIndexNamed(Mts1bError):
    """No index was named."""


@app.command("run")
def run(file: File = None, *, servers: Servers = None) -> None:
    """Keep the index until interrupted; one that is missing is made from what the streams hold.

    It holds places only, nothing of the events. Deleting it costs nothing but the time to make it again.

    Example: mts1b index run /var/lib/mts1b/index.db
    """

    async def work(bus: EventBus) -> None:
        stop = stopped_by_signals()
        await be_found(bus, metadata={"command": "mts1b index run"})
        with IndexStore(_path(file), write=True) as store:
            feed = Feed(bus, store, Decoders(registry()))
            first = True

            def told(indexed: Indexed) -> None:
                nonlocal first
                if first:
                    tell(f"{indexed.messages:,} messages indexed under {indexed.keys:,} keys; following what comes")
                first = False

            await feed.run(stop, told)

    on_bus(work, servers)


@app.command("build")
def build(file: File = None, *, servers: Servers = None, as_json: Json = False) -> None:
    """Bring the index up to what the streams hold now, and end.

    Example: mts1b index build /var/lib/mts1b/index.db
    """

    async def work(bus: EventBus) -> dict[str, Any]:
        begun = asyncio.get_running_loop().time()
        with IndexStore(_path(file), write=True) as store:
            feed = Feed(bus, store, Decoders(registry()))
            await feed.catch_up(stopped_by_signals())
            took = asyncio.get_running_loop().time() - begun
            keys = store.keys()
        size = store.bytes
        return {
            "messages": feed.indexed.messages,
            "new_keys": feed.indexed.keys,
            "seconds": round(took, 2),
            "keys": keys,
            "bytes": size,
            "bytes_a_key": round(size / keys, 1) if keys else None,
        }

    found = on_bus(work, servers)
    if as_json:
        print_json(found)
        return
    rate = found["messages"] / max(found["seconds"], 0.01)
    say(f"{found['messages']:,} messages indexed in {found['seconds']:.1f} s ({rate:,.0f}/s)")
    say(f"{found['keys']:,} keys in {found['bytes']:,} bytes" + _each(found))


@app.command("status")
def status(file: File = None, *, servers: Servers = None, as_json: Json = False) -> None:
    """Show how far each stream is indexed, and what is not yet.

    Example: mts1b index status --json
    """

    async def work(bus: EventBus) -> list[dict[str, Any]]:
        histories, _ = await open_streams(bus, patterns=["mts.>"])
        rows: list[dict[str, Any]] = []
        with IndexStore(_path(file)) as store:
            positions = await valid_marks({each.stream: each for each in histories}, store)
            for each in histories:
                _, last = await each.extent()
                position = positions[each.stream]
                rows.append(
                    {"stream": each.stream, "indexed_to": position, "last": last, "behind": max(0, last - position)}
                )
        return rows

    print_listing(on_bus(work, servers), as_json=as_json, empty="no streams")


def _each(found: dict[str, Any]) -> str:
    return "" if found["bytes_a_key"] is None else f", {found['bytes_a_key']} a key"


def _path(given: Path | None) -> Path:
    found = given or Settings.load().index_file
    if found is None:
        raise NoIndexNamed("which index? Name its file, or set index_file in mts1b.toml (MTS1B_INDEX_FILE)")
    return found
