"""Stored events: found by a query, or one opened."""

from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from mts1b_foundation.schemas import schema_document
from mts1b_operations.history.matching import nonsense, patterns_of, streams_of
from mts1b_operations.history.moments import moment
from mts1b_operations.history.query import Query, parse
from mts1b_operations.history.search import Search
from mts1b_operations.history.search import Searched as Progress
from mts1b_operations.history.seen import Seen
from mts1b_operations.history.streams import open_streams
from mts1b_operations.people.finding import consumers_for_anybody
from mts1b_operations.story.readers import readers_of, services_of_durables
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.eventbus.history.recorded import stamp_of

from mts1b_console.person.person import Person
from mts1b_console.problems import Refused
from mts1b_console.read.answer import answered, now, reachable
from mts1b_console.read.deadletters import letters_about
from mts1b_console.read.rows import reader_state, row_of, text_of
from mts1b_console.shapes.events import EventOpened, EventsFound, QueryProblem, Searched

MOST_ROWS: Final = 500
SEARCHES: Final = 2
"""Searches of one person at a time."""


async def found(
    person: Person, text: str, *, since: str | None, until: str | None, cursor: str | None, limit: int
) -> EventsFound:
    """The events that a query means, newest first; a search that stopped goes on from its ``cursor``.

    Raises:
        MomentError: a moment is none.
        Refused: the cursor is none, or too many searches are under way.
    """
    parsed = parse(text)
    problems = [QueryProblem(at=each.at, words=each.words) for each in parsed.problems]
    if not problems and (why := nonsense(parsed.query)) is not None:
        problems = [QueryProblem(at=0, words=why)]
    said: dict[str, Any] = {"query": str(parsed.query), "problems": problems}
    if problems:
        return EventsFound(read_at=now(), **said)
    present = datetime.now(UTC)
    since_ns = None if since is None else moment(since, present)
    until_ns = _nanoseconds(cursor) if cursor else None if until is None else moment(until, present)

    async def work() -> dict[str, Any]:
        async with person.at_most(SEARCHES, "searches"):
            return await _search(person, parsed.query, since_ns, until_ns, min(limit, MOST_ROWS))

    return await answered(person, EventsFound, work, **said)


async def _search(
    person: Person, query: Query, since_ns: int | None, until_ns: int | None, limit: int
) -> dict[str, Any]:
    histories, skipped = await open_streams(person.bus, names=streams_of(query), patterns=patterns_of(query))
    search = Search(histories, query, person.decoders, since_ns=since_ns, until_ns=until_ns, limit=limit)
    async with aclosing(search.run()) as events:
        rows = [row_of(seen) async for seen in events]
    progress = search.searched
    progress.skipped = skipped
    more = not progress.complete and progress.back_to_ns is not None
    return {
        "events": rows,
        "searched": searched(progress),
        "cursor": str(progress.back_to_ns) if more else None,
    }


def searched(progress: Progress) -> Searched:
    """How far a search came."""
    back = progress.back_to_ns
    return Searched(
        how="index" if progress.how == "index" else "search",
        looked_at=progress.looked_at,
        of=progress.of,
        complete=progress.complete,
        back_to=None if progress.complete or back is None else stamp_of(back),
        streams=list(progress.streams),
        skipped=progress.skipped,
    )


async def opened(person: Person, stream: str, seq: int) -> EventOpened:
    """One stored event, whole.

    Raises:
        Refused: the stream does not hold it.
        BusError: it cannot be read.
    """
    reachable(person)
    history = await open_history(person.bus, stream)
    recorded = await history.get(seq)
    if recorded is None:
        first, last = await history.extent()
        holds = f"it holds {first} to {last}" if last >= first else "it is empty"
        raise Refused(404, "not-found", f"{stream} has no message {seq}", f"{holds}; what was deleted is gone")
    seen = Seen(recorded, person.decoders)
    lags = await consumers_for_anybody(person.bus, {stream})
    readers = None
    if lags is not None:
        readers = readers_of(seen, lags, services_of_durables(), await letters_about(person, stream, seq))
    return shown(seen, readers=None if readers is None else [reader_state(each) for each in readers])


def shown(seen: Seen, *, name: str | None = None, readers: Any = None) -> EventOpened:
    """A message, whole."""
    text, truncated = text_of(seen.recorded.wire.payload)
    return EventOpened(
        read_at=now(),
        event=row_of(seen, name=name),
        payload_text=text,
        truncated=truncated,
        headers=seen.headers,
        model=schema_document(seen.registered.payload) if seen.registered else None,
        readers=readers,
    )


def _nanoseconds(cursor: str) -> int:
    if not cursor.isdecimal() or len(cursor) > 20:
        raise Refused(400, "bad-request", f"{cursor!r} is no cursor", "take the one of the answer before")
    return int(cursor)
