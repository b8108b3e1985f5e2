"""The live connection of a page: its tails, each with frames as far as the browser can take them."""

import asyncio
import time
from contextlib import suppress
from typing import Final

from aiohttp import WSMsgType, web
from mts1b_foundation.errors import Mts1bError
from mts1b_operations.history.matching import nonsense
from mts1b_operations.history.query import Query, parse
from mts1b_operations.history.tail import Tail, patterns_to_hear
from mts1b_platform.logs import get_logger
from pydantic import TypeAdapter, ValidationError

from mts1b_console.live.frames import View
from mts1b_console.problems import Refused, problem_of
from mts1b_console.read.answer import now
from mts1b_console.read.events import shown
from mts1b_console.shapes.base import Problem
from mts1b_console.shapes.live import (
    Close,
    Ended,
    FromBrowser,
    Hello,
    Hidden,
    Open,
    Opened,
    Pause,
    Resume,
    ToBrowser,
    Trouble,
    Watch,
    Welcome,
)
from mts1b_console.web.keys import CONSOLE, SESSION
from mts1b_console.web.security import check_origin
from mts1b_console.web.session import Session

log = get_logger("mts1b.console")

MOST_TAILS: Final = 4
"""Tails of one page, and of one person."""
MOST_UNSENT: Final = 256 * 1024
"""Bytes that wait for a browser; above that it gets no frame."""
GREETED_WITHIN: Final = 5.0
_SIGN_OF_LIFE: Final = 1.0
"""Seconds after which a quiet tail gets a frame."""
_WORDS: Final[TypeAdapter[FromBrowser]] = TypeAdapter(FromBrowser)


async def live(request: web.Request) -> web.WebSocketResponse:
    """Serve one page until it goes, or its session ends."""
    check_origin(request)
    session = request[SESSION]
    socket = web.WebSocketResponse(heartbeat=20.0, max_msg_size=16 * 1024)
    await socket.prepare(request)
    page = _Page(request, socket, session)

    async def end() -> None:
        await page.end(Problem(code="session-ended", message="the session is over", what_to_do="sign in again"))

    session.ending.add(end)
    try:
        if await page.greeted():
            await page.serve()
    finally:
        session.ending.discard(end)
        await page.close()
    return socket


class _Page:
    """One page's connection."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, session: Session) -> None:
        self._request = request
        self._socket = socket
        self._session = session
        self._tails: dict[int, tuple[asyncio.Task[None], View | None]] = {}
        self._hidden = False

    async def greeted(self) -> bool:
        """Whether the first word is the page's own token; otherwise the connection is closed."""
        try:
            async with asyncio.timeout(GREETED_WITHIN):
                said = await self._socket.receive()
            word = _WORDS.validate_json(said.data) if said.type is WSMsgType.TEXT else None
        except (TimeoutError, ValidationError):
            word = None
        if not isinstance(word, Hello) or not self._session.is_csrf(word.csrf):
            await self._socket.close(code=4403, message=b"the first word is hello with the page's token")
            return False
        await self._say(Welcome(at=now()))
        return True

    async def serve(self) -> None:
        """Do what the page says until it goes."""
        watch = asyncio.create_task(self._until_ended())
        try:
            async for said in self._socket:
                if said.type is not WSMsgType.TEXT:
                    continue
                try:
                    word = _WORDS.validate_json(said.data)
                except ValidationError:
                    await self._trouble(None, Problem(code="bad-request", message="this is no word of a page"))
                    continue
                try:
                    await self._heed(word)
                except Refused as refused:
                    await self._trouble(getattr(word, "id", None), refused.problem)
        finally:
            watch.cancel()

    async def _heed(self, word: FromBrowser) -> None:
        match word:
            case Watch():
                await self._watch(word)
            case Pause() | Resume():
                self._view(word.id).paused = isinstance(word, Pause)
            case Close():
                await self._stop(word.id)
            case Open():
                seen = self._view(word.id).ring.get(word.row)
                if seen is None:
                    raise Refused(404, "gone", "this row has fallen off", "stored events are found by Explore")
                await self._say(Opened(id=word.id, row=word.row, event=shown(seen, name=f"live:{word.row}")))
            case Hidden():
                self._hidden = word.hidden
            case Hello():
                pass

    def _view(self, number: int) -> View:
        _, view = self._tails.get(number, (None, None))
        if view is None:
            raise Refused(404, "not-found", f"there is no tail {number}", "watch first")
        return view

    async def _watch(self, word: Watch) -> None:
        await self._stop(word.id)
        if len(self._tails) >= MOST_TAILS:
            raise Refused(429, "busy", f"{MOST_TAILS} tails are open", "close one")
        parsed = parse(word.q)
        if parsed.problems or nonsense(parsed.query):
            words = parsed.problems[0].words if parsed.problems else nonsense(parsed.query) or ""
            raise Refused(400, "bad-request", f"the query cannot be understood: {words}", "see the help")
        try:
            decoders = self._session.person.decoders
            names = dict.fromkeys(word.subject.split()) or [word.subject]
            patterns = tuple(each for name in names for each in patterns_to_hear(name, decoders.registry))
        except Mts1bError as error:
            raise Refused(400, "bad-request", str(error)) from None
        view = View(word.id, word.mode, time.monotonic)
        task = asyncio.create_task(self._tail(word, patterns, parsed.query, view), name=f"tail {word.subject}")
        self._tails[word.id] = task, view

    async def _tail(self, word: Watch, patterns: tuple[str, ...], query: Query, view: View) -> None:
        person = self._session.person
        never = asyncio.Event()
        said_at = 0.0
        try:
            async with person.at_most(MOST_TAILS, "tails"), Tail(person.bus, patterns, query, person.decoders) as tail:
                async for events in tail.frames(never):
                    view.feed(events)
                    view.heard, view.dropped = tail.heard, tail.dropped
                    due = events or view.waits or time.monotonic() - said_at >= _SIGN_OF_LIFE
                    if due and self._ready and not self._hidden:
                        said_at = time.monotonic()
                        await self._say(view.frame())
        except Refused as refused:
            await self._trouble(word.id, refused.problem)
        except Mts1bError as error:
            await self._trouble(word.id, problem_of(error))
        except ConnectionError:
            pass  # the page has gone
        except Exception as error:
            log.exception("a tail ended as it should not", subject=word.subject)
            await self._trouble(word.id, problem_of(error))

    @property
    def _ready(self) -> bool:
        """Whether the browser has taken what it was sent."""
        transport = self._request.transport
        return transport is not None and transport.get_write_buffer_size() <= MOST_UNSENT

    async def _until_ended(self) -> None:
        """End the page when the person's connection to the bus has ended for good."""
        bus = self._session.person.bus
        while not bus.is_closed:  # noqa: ASYNC110 - the bus has no event for it
            await asyncio.sleep(0.2)
        reason = str(bus.ending or "the connection to the bus was closed")
        await self.end(Problem(code="session-ended", message=reason, what_to_do="sign in again"))
        await self._request.app[CONSOLE].sessions.close(self._session)

    async def end(self, problem: Problem) -> None:
        """Say that the session is over, and close."""
        if not self._socket.closed:
            await self._say(Ended(problem=problem))
            await self._socket.close(code=4401, message=b"the session is over")

    async def close(self) -> None:
        """End every tail."""
        for number in list(self._tails):
            await self._stop(number)

    async def _stop(self, number: int) -> None:
        task, _ = self._tails.pop(number, (None, None))
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _trouble(self, number: int | None, problem: Problem) -> None:
        await self._say(Trouble(id=number, problem=problem))

    async def _say(self, word: ToBrowser) -> None:
        if not self._socket.closed:
            with suppress(ConnectionError):
                await self._socket.send_str(word.model_dump_json())
