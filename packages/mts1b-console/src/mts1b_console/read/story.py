"""The story of an order, a trace or a halt."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from mts1b_foundation.orders import Order
from mts1b_foundation.subjects.flows import TRACE
from mts1b_operations.history.seen import Seen
from mts1b_operations.history.streams import open_streams
from mts1b_operations.index.find import ByIndex, PointTo, pointing
from mts1b_operations.index.store import IndexFileError, IndexStore
from mts1b_operations.people.finding import consumers_for_anybody, looked_up, may_look_up
from mts1b_operations.story.explain import Missing as Owed
from mts1b_operations.story.gather import BySearch, Finder
from mts1b_operations.story.names import ORDER, SIGNAL, Name, names_of
from mts1b_operations.story.story import Story as Told
from mts1b_operations.story.story import tell
from mts1b_platform.config import Settings

from mts1b_console.person.person import Person
from mts1b_console.read.answer import answered
from mts1b_console.read.events import SEARCHES
from mts1b_console.read.rows import reader_state, row_of
from mts1b_console.shapes.events import Missing, OrderFacts, Searched, Story, StoryEvent

HALT: Final = "halt_id"
MOST: Final = 2_000_000
WITHIN: Final = 5.0
"""Seconds that a search without an index takes at most."""


async def story(person: Person, kind: str, value: str) -> Story:
    """What happened to an order, in a trace, to a halt; what is missing, and who has handled what."""

    async def work() -> dict[str, Any]:
        async with person.at_most(SEARCHES, "searches"):
            return _shape(await _tell(person, Name(kind, value)))

    return await answered(person, Story, work, kind=kind, value=value)


async def _tell(person: Person, about: Name) -> Told:
    histories, hidden = await open_streams(person.bus, patterns=["mts.>"])
    named = {each.stream: each for each in histories}
    async with _index(person) as index:
        finder: Finder = (
            BySearch(histories, person.decoders, most=MOST, within=WITHIN, hidden=hidden)
            if index is None
            else ByIndex(index, named, person.decoders, most=MOST, within=WITHIN, hidden=hidden)
        )
        return await tell(person.bus, about, finder, person.decoders, named, consumers=consumers_for_anybody)


@asynccontextmanager
async def _index(person: Person) -> AsyncGenerator[PointTo | None, None]:
    """What points to events: where looks are answered, or the index of this host; None: the streams are searched."""
    if person.secured:
        yield partial(looked_up, person.bus) if await may_look_up(person.bus) else None
        return
    file = Settings.load().index_file
    try:
        store = IndexStore(file) if file is not None and file.exists() else None
    except IndexFileError:
        store = None
    if store is None:
        yield None
        return
    with store:
        yield pointing(store)


def _shape(told: Told) -> dict[str, Any]:
    found = told.found
    own = [seen for seen in told.events if told.about in names_of(seen)]
    traces = {seen.trace_id for seen in own if seen.trace_id}
    signals = {seen.names[SIGNAL] for seen in own if SIGNAL in seen.names}
    events: list[StoryEvent] = []
    before: int | None = None
    for seen in told.events:
        readers = None if told.readers is None else told.readers.get(seen.place, [])
        events.append(
            StoryEvent(
                event=row_of(seen),
                after_ms=None if before is None else round((seen.recorded.time_ns - before) / 1e6, 3),
                linked_by=_linked(seen, told.about, traces, signals),
                readers=None if readers is None else [reader_state(each) for each in readers],
            )
        )
        before = seen.recorded.time_ns
    newest = next((seen.payload for seen in reversed(own) if isinstance(seen.payload, Order)), None)
    return {
        "order": None if newest is None or told.about.kind != ORDER else facts_of(newest),
        "events": events,
        "missing": [_missing(each) for each in told.missing],
        "hidden": found.hidden,
        "searched": Searched(
            how="index" if found.how == "index" else "search",
            looked_at=len(events),
            of=len(events),
            complete=found.complete,
            back_to=found.back_to,
            streams=sorted({seen.recorded.stream for seen in told.events}),
            skipped=found.hidden,
        ),
        "readers_known": told.readers is not None,
    }


def _linked(seen: Seen, about: Name, traces: set[str], signals: set[str]) -> list[str]:
    links = [about.kind] if about in names_of(seen) else []
    if about.kind != TRACE and seen.trace_id in traces:
        links.append(TRACE)
    if about.kind != SIGNAL and seen.names.get(SIGNAL) in signals:
        links.append(SIGNAL)
    return links


def _missing(each: Owed) -> Missing:
    document = each.to_json()
    return Missing(**document, stream=each.owed.after.recorded.stream)


def facts_of(order: Order) -> OrderFacts:
    """An order as it stands."""
    price = f" {order.limit_price}" if order.limit_price is not None else ""
    return OrderFacts(
        order_id=order.order_id,
        status=order.status.value,
        is_final=order.status.is_final,
        side=order.side.value,
        quantity=str(order.quantity),
        filled=str(order.filled_quantity),
        symbol=order.symbol,
        fund=order.fund_id,
        actor=order.actor,
        kind=f"{order.order_type.value}{price} {order.time_in_force.value}",
        broker=order.broker,
        why=order.rejected_reason or order.canceled_reason,
    )
