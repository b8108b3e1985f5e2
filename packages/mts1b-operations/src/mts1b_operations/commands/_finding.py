"""The index, when there is one that can be used: here, or where looks are answered."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus

from mts1b_operations.commands._events_options import tell
from mts1b_operations.index.find import PointTo, pointing
from mts1b_operations.index.store import IndexFileError, IndexStore
from mts1b_operations.people.finding import looked_up, may_look_up


@asynccontextmanager
async def the_index(bus: EventBus) -> AsyncGenerator[PointTo | None]:
    """What points to events: the index that the settings name, or for a person the one where looks are answered.

    None without one; when it cannot be used, that is said.
    """
    file = Settings.load().index_file
    if file is None and bus.identity.has_token and await may_look_up(bus):
        yield partial(looked_up, bus)
        return
    if file is None or not file.exists():
        if file is not None:
            tell(f"there is no index at {file} (`mts1b index run` makes it); the streams are searched")
        yield None
        return
    try:
        store = IndexStore(file)
    except IndexFileError as error:
        tell(f"{error}; the streams are searched")
        yield None
        return
    with store:
        yield pointing(store)
