"""The console as a web application, and serving it."""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.config import Settings
from mts1b_platform.logs import get_logger

from mts1b_console.bundle import PAGE, File, bundle
from mts1b_console.person.person import Door
from mts1b_console.problems import Refused
from mts1b_console.settings import ConsoleSettings
from mts1b_console.web import api, login
from mts1b_console.web.keys import CONSOLE, Console
from mts1b_console.web.live import live
from mts1b_console.web.security import MOST_BYTES, add_headers, guard
from mts1b_console.web.session import Sessions

log = get_logger("mts1b.console")

_LOOK_AGAIN: Final = 60.0
"""Seconds between two looks for a new certificate."""
_RESERVED: Final = ("/api", "/live", "/login", "/logout", "/handover", "/static")


class ListenError(Mts1bError):
    """The console cannot listen as it is told."""


def application(console: Console, files: Mapping[str, File]) -> web.Application:
    """The application of one console.

    Args:
        console: what it knows.
        files: the browser's program.
    """
    app = web.Application(middlewares=[guard], client_max_size=MOST_BYTES)
    app[CONSOLE] = console
    app.on_response_prepare.append(add_headers)

    async def file(request: web.Request) -> web.Response:
        found = files.get(request.match_info["name"])
        if found is None:
            raise Refused(404, "not-found", "there is no such file", "load the page again")
        return _served(request, found)

    async def page(request: web.Request) -> web.Response:
        if request.path.startswith(_RESERVED):
            raise Refused(404, "not-found", f"there is nothing at {request.path[:200]}", "see /api/schema")
        return _served(request, files[PAGE])

    app.add_routes(
        [
            *api.routes(),
            web.post("/login", login.login),
            web.post("/logout", login.logout),
            web.post("/handover", login.handover),
            web.get("/live", live),
            web.get("/static/{name}", file),
            web.get("/{page:.*}", page),
        ]
    )
    return app


def _served(request: web.Request, file: File) -> web.Response:
    """A file of the program; browsers ask each time whether theirs is still the same."""
    tag = f'"{file.hash}"'
    same = request.headers.get("If-None-Match") == tag
    packed = not same and "gzip" in request.headers.get("Accept-Encoding", "")
    response = web.Response(status=304) if same else web.Response(body=file.gzipped if packed else file.content)
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["ETag"] = tag
    response.headers["Content-Type"] = file.type
    response.headers["Cache-Control"] = (
        "public, max-age=31536000, immutable" if request.query_string == file.hash[:16] else "no-cache"
    )
    return response


@asynccontextmanager
async def serving(
    settings: ConsoleSettings, bus: Settings, *, servers: str | None = None
) -> AsyncGenerator[tuple[Console, str], None]:
    """Serve the console inside the block; its address is the second of what is yielded.

    Args:
        settings: how it listens.
        bus: how the bus is reached.
        servers: a bus without people, in place of what the settings say.

    Raises:
        ListenError: it may not listen there, or the address is taken.
        BundleError: the package is not complete.
    """
    door = Door(bus, servers=servers, bus=None if servers else settings.bus, obeying=settings.obeying)
    _refuse_openness(settings, door)
    console = Console(settings, door, Sessions(time.monotonic))
    certificate = Certificate(settings.tls_pem) if settings.tls_pem else None
    runner = web.AppRunner(application(console, bundle()), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    watching: asyncio.Task[None] | None = None
    try:
        context = certificate.context if certificate else None
        site = web.TCPSite(runner, settings.host, settings.port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            raise ListenError(
                f"{settings.listen} cannot be listened on ({error.strerror}): give another with --listen"
            ) from None
        port: int = runner.addresses[0][1]
        console.hosts = hosts(settings, port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        watching = asyncio.create_task(certificate.watch(), name="renew the certificate") if certificate else None
        yield console, f"{'https' if console.tls else 'http'}://{host}:{port}"
    finally:
        if watching is not None:
            watching.cancel()
        await console.sessions.close_all()
        await runner.cleanup()
        await door.close()


def hosts(settings: ConsoleSettings, port: int) -> frozenset[str]:
    """The values of ``Host`` that are taken: the address itself, this machine's own name for it, and ``names``."""
    own = {settings.host, "localhost", "127.0.0.1", "::1"} if settings.on_loopback else {settings.host}
    named = {f"[{each}]" if ":" in each else each for each in own}
    standard = 443 if settings.tls_pem else 80
    bare = named if port == standard else set[str]()
    given = {name for each in settings.names for name in (each, f"{each}:{port}")}
    return frozenset({f"{each}:{port}" for each in named} | bare | given)


def _refuse_openness(settings: ConsoleSettings, door: Door) -> None:
    """Raise when others could reach what only this machine may.

    Raises:
        ListenError: they could.
    """
    if settings.on_loopback:
        return
    if not door.secured:
        raise ListenError(
            f"{settings.listen} is reached from elsewhere, and this bus has no authentication: "
            "listen on 127.0.0.1, and reach it by an SSH tunnel"
        )
    if settings.tls_pem is None:
        raise ListenError(
            f"{settings.listen} is reached from elsewhere: "
            "set tls_pem in [console] of mts1b.toml, or listen on 127.0.0.1"
        )


class Certificate:
    """The console's certificate, which is renewed in place: connections that are made later are shown the new one.

    Raises:
        ListenError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = 0
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.refresh()

    def refresh(self) -> bool:
        """Take it as it is on the disk now; whether it is another than before.

        Raises:
            ListenError: it cannot be used; the one before is shown.
        """
        try:
            state = self._path.stat().st_mtime_ns
            if state == self._held:
                return False
            self.context.load_cert_chain(self._path)
        except (OSError, ssl.SSLError) as error:
            raise ListenError(f"certificate {self._path} cannot be used: {error}") from None
        self._held = state
        return True

    async def watch(self) -> None:
        """Look for a new one, once a minute."""
        while True:
            await asyncio.sleep(_LOOK_AGAIN)
            try:
                if self.refresh():
                    log.info("shown from now on", certificate=str(self._path))
            except ListenError as error:
                log.error("the certificate cannot be renewed", error=str(error))
