"""The pytest fixtures that start nats-servers."""

import contextlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from mts1b_platform.server import NatsServer

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
