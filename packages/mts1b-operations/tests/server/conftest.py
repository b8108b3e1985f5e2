"""What the tests of operations share."""

import pytest


@pytest.fixture(autouse=True)
def patient_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands under test wait for a server that the machine has stalled."""
    monkeypatch.setenv("MTS1B_CONNECT_TIMEOUT", "20")
