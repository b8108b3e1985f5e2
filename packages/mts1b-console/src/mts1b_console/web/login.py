"""Signing in and out, and who is signed in."""

from importlib.metadata import version
from typing import Any, Final, TypeVar

from aiohttp import web
from mts1b_platform.eventbus import AccessDenied
from mts1b_platform.eventbus.errors import ServerUnavailable
from mts1b_platform.logs import get_logger
from pydantic import ValidationError

from mts1b_console.problems import Refused, problem_of
from mts1b_console.read.answer import now
from mts1b_console.shapes.base import Shape
from mts1b_console.shapes.person import Environment, Me, SignIn
from mts1b_console.web.keys import CONSOLE, SESSION, Console
from mts1b_console.web.security import as_json, forget_cookie, set_cookie
from mts1b_console.web.session import Session

log = get_logger("mts1b.console")
S = TypeVar("S", bound=Shape)

OPEN_TO_ALL: Final = (
    "This bus has no authentication: whoever reaches it may do anything. "
    "The console acts as {name}, on this machine only."
)
_LONGEST_TOKEN: Final = 64 * 1024


async def me(request: web.Request) -> web.Response:
    """Who is signed in. Where there are no people, whoever opens the page is."""
    console, session = request.app[CONSOLE], request.get(SESSION)
    fresh: Session | None = None
    unknown = None
    if session is None and not console.door.secured:
        try:
            fresh = session = await console.sessions.open(await console.door.everybody())
        except (ServerUnavailable, AccessDenied, Refused) as error:
            unknown = problem_of(error)
    answer = as_json(_me(console, session).model_copy(update={"unknown": unknown}))
    if fresh is not None:
        set_cookie(console, answer, fresh.id)
    return answer


async def login(request: web.Request) -> web.Response:
    """Sign in with a token, or with the code that `mts1b console open` was given for one."""
    console = request.app[CONSOLE]
    console.sessions.count_attempt(request.remote or "")
    if not console.door.secured:
        raise Refused(409, "no-people", "nobody signs in on a bus without authentication", "load the page")
    given = await body(request, SignIn)
    token = console.sessions.token_of(given.code) if given.code else (given.token or "").strip()
    if not token or len(token) > _LONGEST_TOKEN or not token.isprintable():
        raise Refused(400, "bad-request", "there is no token", "paste the one of `mts1b token issue`")
    try:
        person = await console.door.by_token(token)
    except AccessDenied as error:
        log.warning("sign-in refused", address=request.remote, error=str(error))
        raise Refused(401, "refused", str(error), "the token has ended, or is none of this bus") from None
    if (before := request.get(SESSION)) is not None:
        await console.sessions.close(before)
    try:
        session = await console.sessions.open(person)
    except Refused:
        await person.close()
        raise
    log.info("signed in", person=person.name, roles=person.roles, address=request.remote)
    answer = as_json(_me(console, session))
    set_cookie(console, answer, session.id)
    return answer


async def logout(request: web.Request) -> web.Response:
    """Sign out: the session and its connection to the bus end now."""
    console = request.app[CONSOLE]
    await console.sessions.close(request[SESSION])
    log.info("signed out", person=request[SESSION].person.name, address=request.remote)
    answer = as_json(_me(console, None))
    forget_cookie(console, answer)
    return answer


async def handover(request: web.Request) -> web.Response:
    """A one-time code for the token of a terminal on its way to the browser."""
    console = request.app[CONSOLE]
    console.sessions.count_attempt(request.remote or "")
    given = await body(request, SignIn)
    if not given.token or len(given.token) > _LONGEST_TOKEN:
        raise Refused(400, "bad-request", "there is no token", "`mts1b login` first")
    return web.json_response({"code": console.sessions.hand_over(given.token.strip())})


async def body(request: web.Request, shape: type[S]) -> S:
    """What was sent.

    Raises:
        Refused: it is something else.
    """
    try:
        return shape.model_validate_json(await request.read())
    except ValidationError as error:
        wrong: list[Any] = [".".join(map(str, each["loc"])) or each["type"] for each in error.errors()]
        raise Refused(
            400, "bad-request", f"the request is no {shape.__name__}: {', '.join(wrong)[:200]}", "see /api/schema"
        ) from None


def _me(console: Console, session: Session | None) -> Me:
    person = session.person if session else None
    settings = console.settings
    open_to_all = not console.door.secured
    return Me(
        read_at=now(),
        name=person.name if person else None,
        roles=list(person.roles) if person else [],
        secured=console.door.secured,
        banner=OPEN_TO_ALL.format(name=person.bus.service if person else "mts1b-operations") if open_to_all else None,
        rights=person.rights if person else None,
        read_only=settings.read_only,
        token_ends=person.token_ends if person else None,
        csrf=session.csrf if session else None,
        environment=Environment(name=settings.environment, color=settings.color),
        version=version("mts1b-console"),
        connected=person is not None and person.bus.is_connected,
        server=str(person.bus.connected_url) if person and person.bus.connected_url else None,
    )
