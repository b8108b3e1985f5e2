"""What tests of several packages share."""

import pytest
from mts1b_platform.testing.programs import preload

preload("mts1b_desk.cli", "mts1b_desk.run.desk", "mts1b_desk.services.child", "mts1b_platform.cli")


@pytest.fixture(autouse=True)
def patient_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects waits for a server that the machine has stalled, in processes that a test starts too."""
    monkeypatch.setenv("MTS1B_CONNECT_TIMEOUT", "20")
