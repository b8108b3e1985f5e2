"""Which streams there are to read, and opening them."""

import asyncio
from collections.abc import Iterable, Sequence

from mts1b_foundation.subjects.algebra import overlaps
from mts1b_platform.eventbus import AccessDenied, BusError, EventBus, NoStream
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.history.history import History, open_history

from mts1b_operations.lag import stream_infos

_STORES = ("KV_", "OBJ_")
"""Streams of key-value and object stores hold no events."""


async def known_streams(bus: EventBus) -> dict[str, tuple[str, ...]]:
    """The streams with the subjects that they store: those on the server, or the declared ones when it may not say."""
    if not bus.identity.has_token:
        try:
            return {
                info["config"]["name"]: tuple(info["config"].get("subjects") or ())
                for info in await stream_infos(bus)
                if not info["config"]["name"].startswith(_STORES)
            }
        except AccessDenied:
            pass
    return {each.name: each.subjects for each in declared(bus.settings.checkouts).streams}


async def open_streams(
    bus: EventBus, *, names: Sequence[str] = (), patterns: Iterable[str] = ()
) -> tuple[list[History], dict[str, str]]:
    """The histories of the streams that are named, or that may hold what all ``patterns`` match; and who was left out.

    Raises:
        BusError: a stream that was named cannot be read.
    """
    if names:
        return [await open_history(bus, name) for name in names], {}
    wanted = list(patterns)
    meant = [
        name
        for name, subjects in sorted((await known_streams(bus)).items())
        if all(any(overlaps(pattern, stored) for stored in subjects) for pattern in wanted)
    ]
    opened: list[History] = []
    skipped: dict[str, str] = {}
    for name, found in zip(meant, await asyncio.gather(*(_opened(bus, name) for name in meant)), strict=True):
        if isinstance(found, str):
            skipped[name] = found
        else:
            opened.append(found)
    if not opened and skipped:
        raise BusError("no stream can be read: " + "; ".join(f"{name} is {why}" for name, why in skipped.items()))
    return opened, skipped


async def _opened(bus: EventBus, name: str) -> History | str:
    """The history of a stream, or why it is left out."""
    try:
        return await open_history(bus, name)
    except AccessDenied:
        return "not for this identity"
    except NoStream:
        return "not open to people" if bus.identity.has_token else "not on this server"
