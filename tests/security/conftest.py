"""Fixtures of the security tests: a server as profile ``single`` renders it."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from locked_server import Locked, started
from people import Gate, opened


@pytest_asyncio.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Locked]:
    """A running server with streams and declared consumers applied by the administration."""
    async with started(Locked(tmp_path)) as made:
        yield made


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    """A running server that lets people in by a token, with one responder."""
    async with opened(tmp_path) as made:
        yield made
