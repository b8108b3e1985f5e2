"""The routes below ``/api``: what is asked for in the address, handed to what reads it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from mts1b_foundation.subjects.flows import TRACE
from mts1b_operations.story.names import ORDER

from mts1b_console.person.person import Person
from mts1b_console.problems import Refused
from mts1b_console.read import acting, bus, deadletters, events, find, groups, halts, orders, processes, registry, runs
from mts1b_console.read.audit import audit
from mts1b_console.read.now import everything
from mts1b_console.read.story import HALT, story
from mts1b_console.read.words import words
from mts1b_console.shapes.base import Shape
from mts1b_console.shapes.person import ActRequest
from mts1b_console.typescript import json_schema
from mts1b_console.web.export import export
from mts1b_console.web.keys import CONSOLE, SESSION
from mts1b_console.web.login import body, me
from mts1b_console.web.security import as_json

LONGEST: Final = 4_000
"""Letters of one value in an address."""
MOST_VERDICTS: Final = 500
ANSWERED_WITHIN: Final = 20.0
"""Seconds."""
Read = Callable[[web.Request, Person], Awaitable[Shape]]


def routes() -> list[web.RouteDef]:
    """Every route of the API."""
    reads: dict[str, Read] = {
        "/api/now": lambda _, person: everything(person),
        "/api/halts": lambda _, person: halts.halts(person),
        "/api/alerts": lambda _, person: halts.alerts(person),
        "/api/streams": lambda _, person: bus.streams(person),
        "/api/consumers": lambda _, person: bus.consumers(person),
        "/api/groups": lambda _, person: groups.groups(person),
        "/api/processes": lambda _, person: processes.processes(person),
        "/api/services": lambda _, person: bus.services(person),
        "/api/orders": _orders,
        "/api/nav": lambda _, person: orders.nav(person),
        "/api/order/{value}": lambda request, person: story(person, ORDER, _named(request, "value")),
        "/api/trace/{value}": lambda request, person: story(person, TRACE, _named(request, "value")),
        "/api/halt/{value}": lambda request, person: story(person, HALT, _named(request, "value")),
        "/api/events": _events,
        "/api/events/{stream}/{seq}": _event,
        "/api/deadletters": _deadletters,
        "/api/deadletters/runs": lambda _, person: runs.runs(person),
        "/api/deadletters/discarded": lambda _, person: deadletters.discarded(person),
        "/api/deadletters/{id}": lambda request, person: deadletters.opened(person, _named(request, "id")),
        "/api/subjects": _subjects,
        "/api/words": _words,
        "/api/schemas": _schemas,
        "/api/schemas/{id}": _schema,
        "/api/audit": _audit,
        "/api/find": _find,
    }
    return [
        web.get("/api/me", me),
        web.get("/api/schema", _shapes),
        web.get("/api/export", export),
        *(web.get(path, _reading(read)) for path, read in reads.items()),
        web.post("/api/deadletters/verdict", _verdict),
        web.post("/api/act/{noun}/{verb}", _act),
    ]


def _reading(read: Read) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        async with asyncio.timeout(ANSWERED_WITHIN):
            return as_json(await read(request, request[SESSION].person))

    return handle


def _named(request: web.Request, name: str) -> str:
    """What the address names.

    Raises:
        Refused: it is too long.
    """
    value = request.match_info[name]
    if len(value) > LONGEST:
        raise Refused(400, "bad-request", f"{name} is too long", f"{LONGEST} letters at most")
    return value


def _asked(request: web.Request, name: str) -> str | None:
    """What the address asks under ``name``; None when nothing.

    Raises:
        Refused: it is too long.
    """
    value = request.query.get(name)
    if value is not None and len(value) > LONGEST:
        raise Refused(400, "bad-request", f"{name} is too long", f"{LONGEST} letters at most")
    return value or None


def _number(request: web.Request, name: str, default: int, *, most: int) -> int:
    value = _asked(request, name)
    if value is None:
        return default
    if not value.isdecimal() or not 1 <= int(value[:12]) <= most:
        raise Refused(400, "bad-request", f"{name}={value[:40]} is no number from 1 to {most}", "leave it out")
    return int(value)


async def _shapes(_request: web.Request) -> web.Response:
    return web.json_response(json_schema())


async def _orders(request: web.Request, person: Person) -> Shape:
    limit = _number(request, "limit", 1_000, most=5_000)
    return await orders.orders(
        person, limit=limit, fund=_asked(request, "fund"), open_only=_asked(request, "open") in ("1", "yes", "true")
    )


async def _events(request: web.Request, person: Person) -> Shape:
    return await events.found(
        person,
        _asked(request, "q") or "",
        since=_asked(request, "from"),
        until=_asked(request, "to"),
        cursor=_asked(request, "cursor"),
        limit=_number(request, "limit", 100, most=events.MOST_ROWS),
    )


async def _event(request: web.Request, person: Person) -> Shape:
    stream, seq = _named(request, "stream"), _named(request, "seq")
    if not seq.isdecimal() or not 0 < len(seq) <= 18:
        raise Refused(400, "bad-request", f"{seq[:40]!r} is no sequence", "write a number")
    if not stream.replace("-", "_").isidentifier():
        raise Refused(400, "bad-request", f"{stream[:40]!r} is no name of a stream", "see /api/streams")
    return await events.opened(person, stream, int(seq))


async def _deadletters(request: web.Request, person: Person) -> Shape:
    return await deadletters.deadletters(person, group=_asked(request, "group"))


async def _subjects(request: web.Request, person: Person) -> Shape:
    return registry.subjects(person, _asked(request, "matching"))


async def _words(_request: web.Request, _person: Person) -> Shape:
    return words()


async def _schemas(_request: web.Request, _person: Person) -> Shape:
    return registry.schemas()


async def _schema(request: web.Request, _person: Person) -> Shape:
    return registry.schema(_named(request, "id"))


async def _audit(request: web.Request, person: Person) -> Shape:
    return await audit(person, {name: value[:LONGEST] for name, value in request.query.items() if value})


async def _find(request: web.Request, person: Person) -> Shape:
    return find.find(person, _asked(request, "q") or "")


async def _verdict(request: web.Request) -> web.Response:
    given = await body(request, ActRequest)
    ids = (given.ids or [])[:MOST_VERDICTS]
    return as_json(await deadletters.verdict(request[SESSION].person, ids))


async def _act(request: web.Request) -> web.Response:
    if request.app[CONSOLE].settings.read_only:
        raise Refused(403, "read-only", "this console is for looking only", "act from a terminal")
    what = f"{_named(request, 'noun')}.{_named(request, 'verb')}"
    given = await body(request, ActRequest)
    person = request[SESSION].person
    done = acting.order if given.order else acting.preview if given.preview else acting.act
    return as_json(await done(person, what, given))
