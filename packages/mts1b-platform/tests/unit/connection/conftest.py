"""For the tests of the connection: a network, a clock and servers that exist in memory only."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simulated import World


@pytest.fixture
async def world() -> World:
    """Virtual time, an empty network."""
    return World()
