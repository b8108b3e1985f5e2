"""``/metrics``, ``/healthz`` and ``/readyz`` of one process, over HTTP.

Served from a thread of its own, so that a process whose event loop stands still says so instead of saying nothing.

Several processes: each has its own endpoint, on its own port. Nothing is shared, so nothing can be lost or counted
twice; Prometheus tells the processes apart by ``instance``. With port 0 and a directory for discovery (``discovery``)
any number of processes of one service run beside each other.
"""

import asyncio
import errno
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from mts1b_foundation.errors import Mts1bError
from prometheus_client import (
    CollectorRegistry,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType] - the library annotates half of it
)
from prometheus_client.exposition import ThreadingWSGIServer

Check = Callable[[], Awaitable[str | None]]
"""A readiness check: None when all is well, else what is wrong, in a few words."""

Note = Callable[[], Mapping[str, str]]
"""What ``/readyz`` tells beside; called in the endpoint's thread, so it only reads."""

_PATIENCE = 2.0
"""Seconds that the event loop has to answer a health request."""


class EndpointError(Mts1bError):
    """The endpoint cannot be opened."""


class Endpoint:
    """The HTTP endpoint of this process. ``async with`` opens and closes it.

    Args:
        registry: what ``/metrics`` serves.
        host: address to listen on.
        port: 0 for any free one.

    Raises:
        EndpointError: on entering, when the port is taken or the address is none of this machine.
    """

    def __init__(self, registry: CollectorRegistry, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self.checks: dict[str, Check] = {}
        """Readiness checks by name; all must pass for ``/readyz`` to say 200."""
        self.notes: dict[str, Note] = {}
        """What ``/readyz`` tells beside, by name; left out where there is nothing to tell."""
        self._metrics: WSGIApplication = make_wsgi_app(registry)
        self._server: ThreadingWSGIServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """``host:port`` under which others reach it."""
        everywhere = self.host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
        return f"{socket.getfqdn() if everywhere else self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            self._server = make_server(self.host, self.port, self._app, ThreadingWSGIServer, handler_class=_Quiet)
        except OSError as error:
            raise EndpointError(_explain(self.host, self.port, error)) from error
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="metrics", daemon=True
        )
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()
            self._thread.join()

    # In the endpoint's threads from here on.

    def _app(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return self._metrics(environ, start)
        if path == "/healthz":
            return _answer(start, self._ask(_alive()))
        if path == "/readyz":
            notes = {name: found for name, note in list(self.notes.items()) if (found := dict(note()))}
            return _answer(start, self._ask(self._ready()), notes=notes)
        return _answer(start, {"error": f"nothing at {path}: /metrics, /healthz, /readyz"}, status="404 Not Found")

    def _ask(self, question: Any) -> dict[str, str]:
        """The loop's answer: problems by name, empty when there are none."""
        if self._loop is None or self._loop.is_closed():
            question.close()
            return {"event loop": "ended"}
        future = asyncio.run_coroutine_threadsafe(question, self._loop)
        try:
            return future.result(_PATIENCE)
        except FutureTimeout:
            future.cancel()
            return {"event loop": f"no answer within {_PATIENCE:g} s: blocked, or a check hangs"}

    async def _ready(self) -> dict[str, str]:
        names = list(self.checks)
        answers = await asyncio.gather(*(_problem(self.checks[name]) for name in names))
        return {name: problem for name, problem in zip(names, answers, strict=True) if problem}


async def _problem(check: Check) -> str | None:
    try:
        return await check()
    except Exception as error:  # noqa: BLE001 - a check that breaks is a problem to report
        return f"{type(error).__name__}: {error}"


async def _alive() -> dict[str, str]:
    return {}


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature is the library's
        """Requests are not logged: Prometheus asks every few seconds."""


def _answer(
    start: StartResponse,
    problems: dict[str, str],
    *,
    status: str | None = None,
    notes: Mapping[str, Mapping[str, str]] | None = None,
) -> list[bytes]:
    told = {"status": "failing" if problems else "ok", **({"problems": problems} if problems else {}), **(notes or {})}
    data = json.dumps(told).encode() + b"\n"
    start(
        status or ("503 Service Unavailable" if problems else "200 OK"),
        [("Content-Type", "application/json"), ("Content-Length", str(len(data)))],
    )
    return [data]


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"the metrics endpoint cannot listen on {host}:{port}: the port is taken, perhaps by another process of "
            "this service; set MTS1B_METRICS_PORT to another one, or to 0 together with MTS1B_METRICS_DIR"
        )
    return f"the metrics endpoint cannot listen on {host}:{port}: {error.strerror}; check MTS1B_METRICS_HOST"
