"""pytest fixtures for the services' own tests: a real nats-server, never a mock.

Loaded by pytest as a plugin; nothing to import::

    async def test_orders_are_stored(nats_server):
        nc = await nats.connect(nats_server.url)

A server comes up in about 30 ms, so every test has one of its own: no test sees another's streams. When no
nats-server can be found the test fails, with the remedy in the message; it is not skipped.
"""

import contextlib
import importlib.util
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from mts1b_platform.server import NatsServer

__all__ = ["StartNatsServer", "nats_server", "start_nats_server"]

_TO_COME_UP = 60.0
"""Seconds; a machine that runs many tests may stand still for some."""


class StartNatsServer(Protocol):
    """What the fixture ``start_nats_server`` gives: each call starts one more server."""

    def __call__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        monitor_port: int | None = None,
        jetstream: bool = True,
        config: Path | None = None,
    ) -> NatsServer:
        """A running server; arguments as for ``NatsServer``, the directory a new one under ``tmp_path``."""
        ...


@pytest.fixture
def start_nats_server(tmp_path: Path) -> Iterator[StartNatsServer]:
    """Start further servers, or one with other settings; all of them are stopped when the test ends."""
    numbers = count(1)
    with contextlib.ExitStack() as started:

        def start(
            directory: Path | None = None,
            *,
            port: int | None = None,
            monitor_port: int | None = None,
            jetstream: bool = True,
            config: Path | None = None,
        ) -> NatsServer:
            server = NatsServer(
                directory or tmp_path / f"nats-server-{next(numbers)}",
                port=port,
                monitor_port=monitor_port,
                jetstream=jetstream,
                config=config,
                timeout=_TO_COME_UP,
            )
            started.callback(server.stop_blocking)
            return server.start_blocking()

        yield start


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A running server with JetStream, its own store and a free port on loopback; gone after the test.

    ``kill()``, ``restart()``, ``pause()`` and ``resume()`` make it misbehave.
    """
    server = NatsServer(tmp_path / "nats-server", timeout=_TO_COME_UP)
    try:
        yield server.start_blocking()
    finally:
        server.stop_blocking()


if importlib.util.find_spec("pytest_asyncio") is not None:  # the fixtures with an event loop come along when they can
    from mts1b_platform.testing_bus import bus, connect_bus

    __all__ += ["bus", "connect_bus"]
if importlib.util.find_spec("psycopg") is not None:
    from mts1b_platform.testing_postgres import new_postgres_database, postgres_server, postgres_url

    __all__ += ["new_postgres_database", "postgres_server", "postgres_url"]
