"""Fixtures of the security tests: a server as profile ``single`` renders it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from locked_server import Locked, close_all, prepare, started
from people import Gate, opened


@pytest_asyncio.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Locked]:
    """A running server with streams and declared consumers applied by the administration."""
    async with started(Locked(tmp_path)) as made:
        yield made


@pytest.fixture(scope="module")
def locked_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """As ``locked``, one for a module's tests."""
    made = Locked(tmp_path_factory.mktemp("locked"))

    async def begin() -> None:
        await made.start()
        await prepare(made)
        await close_all(made)

    try:
        asyncio.run(begin())
        yield made
    finally:
        made.server.stop_blocking()


@pytest_asyncio.fixture
async def locked_shared(locked_module: Locked) -> AsyncIterator[Locked]:
    """As ``locked``, for tests that change nothing on the server: it is another test's as well."""
    yield locked_module
    await close_all(locked_module)


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    """A running server that lets people in by a token, with one responder."""
    async with opened(tmp_path) as made:
        yield made
