"""Somebody outside who waits for a sign of life, and pages when it stays away, as healthchecks.io does."""

import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

GRACE = 10.0
"""Seconds of silence after which it pages."""


class Outside:
    """Takes signs of life on a port of loopback."""

    def __init__(self) -> None:
        self.last: float | None = None
        """When it heard one last (monotonic)."""
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outside.last = time.monotonic()
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}/ping"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def pages(self) -> bool:
        """Whether the sign of life has stayed away for too long."""
        return self.last is not None and time.monotonic() - self.last > GRACE

    async def heard(self, within: float = 120.0) -> None:
        """Wait for a sign of life that is sent from now on."""
        since = time.monotonic()
        async with asyncio.timeout(within):
            while self.last is None or self.last < since:  # noqa: ASYNC110 - another thread hears it
                await asyncio.sleep(0.02)

    async def paged(self, within: float = 120.0) -> float:
        """Wait until it pages; the seconds since now."""
        since = time.monotonic()
        async with asyncio.timeout(within):
            while not self.pages:  # noqa: ASYNC110 - silence has no event
                await asyncio.sleep(0.02)
        return time.monotonic() - since
