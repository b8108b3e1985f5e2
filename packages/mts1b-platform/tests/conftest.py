"""Shared by the platform's tests."""

import socket

import pytest


@pytest.fixture
def free_url() -> str:
    """A URL where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"nats://127.0.0.1:{probe.getsockname()[1]}"
