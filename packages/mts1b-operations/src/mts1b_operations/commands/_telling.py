"""What ``mts1b order`` and ``mts1b trace`` share."""

import shutil

import typer
from mts1b_platform.eventbus import EventBus
from mts1b_platform.output import print_json, say

from mts1b_operations.commands._bus import on_bus
from mts1b_operations.commands._events_options import Searching, nanoseconds_at, tell
from mts1b_operations.commands._finding import the_index
from mts1b_operations.commands._story import lines
from mts1b_operations.history.search import MOST
from mts1b_operations.history.streams import open_streams
from mts1b_operations.index.find import ByIndex
from mts1b_operations.people.finding import consumers_for_anybody
from mts1b_operations.people.rights import decoders_of
from mts1b_operations.story.gather import BySearch, Finder
from mts1b_operations.story.names import Name
from mts1b_operations.story.story import Story
from mts1b_operations.story.story import tell as tell_story

_MOST = MOST * 10
MISSING = 3
"""The exit code when something is missing."""


def told(about: Name, *, since: str | None, within: float, servers: str | None, as_json: bool) -> None:
    """Tell the story of ``about``; ends the command with its exit code."""

    async def work(bus: EventBus) -> Story:
        decoders = await decoders_of(bus)
        histories, hidden = await open_streams(bus, patterns=["mts.>"])
        named = {each.stream: each for each in histories}
        since_ns = nanoseconds_at(since)
        with Searching() as progress:
            async with the_index(bus) as index:
                finder: Finder = (
                    BySearch(
                        histories,
                        decoders,
                        most=_MOST,
                        within=within,
                        since_ns=since_ns,
                        hidden=hidden,
                        progress=progress,
                    )
                    if index is None
                    else ByIndex(index, named, decoders, most=_MOST, within=within, hidden=hidden, progress=progress)
                )
                return await tell_story(bus, about, finder, decoders, named, consumers=consumers_for_anybody)

    story = on_bus(work, servers)
    if as_json:
        print_json(story.to_json())
    elif story.events:
        for line in lines(story, shutil.get_terminal_size((140, 24)).columns):
            say(line)
    if not story.events:
        kind = about.kind.removesuffix("_id")
        where = f"back to {story.found.back_to}" if story.found.back_to else "in all that is stored"
        tell(f"mts1b: no event is about {kind} {about.value}, {where}; ids are matched whole")
        tell(f"`mts1b events find {kind}:PART*` finds by a part")
        raise typer.Exit(1)
    if any(each.late for each in story.missing):
        raise typer.Exit(MISSING)
