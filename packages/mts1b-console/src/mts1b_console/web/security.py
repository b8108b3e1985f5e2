"""What stands between the browser and every handler: who may ask at all, and the headers of every answer.

================================  ===================================================================================
script injection                  a policy without any ``unsafe-``: scripts and styles of this origin, Trusted Types
DNS rebinding                     ``Host`` has to be one of the console's names
cross-site request                ``Origin`` of this console, JSON, and the session's own token with every POST
cross-site read                   ``Sec-Fetch-Site``; no CORS header is ever sent
clickjacking                      ``frame-ancestors 'none'``
stolen or lost session            HttpOnly, SameSite=Strict cookie; it ends with the token, and with the process
================================  ===================================================================================
"""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.logs import get_logger

from mts1b_console.problems import Refused, problem_of, status_of
from mts1b_console.shapes.base import Failed, Problem, Shape
from mts1b_console.web.keys import CONSOLE, SESSION, Console

log = get_logger("mts1b.console")

MOST_BYTES: Final = 256 * 1024
"""Bytes of a request's body."""
CSRF: Final = "X-CSRF"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "manifest-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), display-capture=()",
    "Server": "mts1b",
}
"""Of every answer."""
_WITHOUT_SESSION: Final = frozenset({"/api/me", "/login", "/handover"})


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer its headers; a signal of the application."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    if request.app[CONSOLE].tls:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"


def as_json(shape: Shape, *, status: int = 200) -> web.Response:
    """An answer to the browser."""
    return web.Response(body=shape.model_dump_json().encode(), status=status, content_type="application/json")


def failed(problem: Problem, status: int) -> web.Response:
    """An answer that is nothing but a problem."""
    return as_json(Failed(error=problem), status=status)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through that may be asked, and answer errors in words."""
    try:
        _check_source(request)
        await _find_session(request)
        return await handler(request)
    except Refused as refused:
        return failed(refused.problem, refused.status)
    except web.HTTPException as error:
        code = {404: "not-found", 405: "method", 413: "too-large"}.get(error.status, "bad-request")
        return failed(Problem(code=code, message=error.reason), error.status)
    except (Mts1bError, TimeoutError) as error:
        problem = problem_of(error)
        return failed(problem, status_of(problem))
    except (ConnectionResetError, ConnectionAbortedError):
        raise
    except Exception as error:
        log.exception("a request was not answered as it should", path=request.path)
        return failed(problem_of(error), 500)


def _check_source(request: web.Request) -> None:
    """Raise unless the request comes from where it may.

    Raises:
        Refused: it does not.
    """
    console = request.app[CONSOLE]
    if request.host.lower() not in console.hosts:
        raise Refused(421, "host", "this console has another name", "open it by the address that it printed")
    if request.method not in ("GET", "HEAD", "POST"):
        raise Refused(405, "method", f"{request.method} is not taken", "GET or POST")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and not _is_link(request):
        raise Refused(403, "cross-site", "another site asks", "open the console itself")
    if request.method == "POST":
        if request.content_type != "application/json":
            raise Refused(415, "content-type", "a POST is application/json", "nothing was done")
        if request.path != "/handover":  # a terminal has no origin; it is given nothing that it did not bring
            check_origin(request)
        elif "Origin" in request.headers:
            raise Refused(403, "origin", "codes are made from a terminal", "`mts1b console open`")


def _is_link(request: web.Request) -> bool:
    """Whether somebody followed a link to a page, from a mail say: the program is anybody's, the cookie is not sent."""
    return (
        request.method == "GET"
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest") == "document"
        and not request.path.startswith(("/api", "/live", "/static", "/login", "/logout", "/handover"))
    )


def check_origin(request: web.Request) -> None:
    """Raise unless a page of this console asks.

    Raises:
        Refused: it does not.
    """
    host = request.host.lower()
    own = {f"https://{host}"} if request.app[CONSOLE].tls else {f"http://{host}", f"https://{host}"}
    if request.headers.get("Origin", "").lower() not in own:
        raise Refused(403, "origin", "the request does not come from a page of this console", "nothing was done")


async def _find_session(request: web.Request) -> None:
    """Find who asks, and raise where somebody has to be signed in and nobody is.

    Raises:
        Refused: nobody is signed in, the token has ended, or the page's own token is missing.
    """
    console = request.app[CONSOLE]
    session = console.sessions.get(request.cookies.get(console.cookie))
    if session is not None and session.person.bus.is_closed:
        await console.sessions.close(session)
        ending = session.person.bus.ending
        if needs_session(request.path):
            raise Refused(401, "session-ended", str(ending or "the connection to the bus was closed"), "sign in again")
        session = None
    if session is not None:
        request[SESSION] = session
        if request.method == "POST" and request.path != "/login" and not session.is_csrf(request.headers.get(CSRF, "")):
            raise Refused(403, "csrf", f"the header {CSRF} is missing or another session's", "load the page again")
    elif needs_session(request.path):
        raise Refused(401, "signed-out", "nobody is signed in", "sign in")


def needs_session(path: str) -> bool:
    """Whether somebody has to be signed in for this path; the program itself is anybody's."""
    return (path.startswith("/api/") or path in ("/live", "/logout")) and path not in _WITHOUT_SESSION


def set_cookie(console: Console, response: web.Response, value: str) -> None:
    """Have the browser remember its session, out of the reach of scripts, and send it to this console only."""
    response.set_cookie(console.cookie, value, path="/", httponly=True, secure=console.tls, samesite="Strict")


def forget_cookie(console: Console, response: web.Response) -> None:
    """Have the browser forget its session."""
    response.del_cookie(console.cookie, path="/", httponly=True, secure=console.tls, samesite="Strict")
