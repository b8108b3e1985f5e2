"""`mts1b alerts`: what is in force, and who looks after it."""

import asyncio
import json

import pytest
from mts1b_foundation.samples import ALERT
from mts1b_foundation.subjects import OPERATIONS_ALERTS_RAISED
from mts1b_platform.cli import run
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus


@pytest.mark.usefixtures("bus")
async def test_alerts_are_listed_and_acknowledged(
    connect_bus: ConnectBus, nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
):
    operations, servers = await connect_bus("mts1b-operations"), ("--servers", nats_server.url)
    assert await asyncio.to_thread(run, ["alerts", "ls", *servers]) == 0
    assert "no alert is in force" in "".join(capsys.readouterr())
    assert await asyncio.to_thread(run, ["alerts", "acknowledge", "nothing-1", *servers]) == 1
    assert "alert 'nothing-1' is not in force" in capsys.readouterr().err
    await operations.emit(OPERATIONS_ALERTS_RAISED, ALERT)
    acknowledge = ["alerts", "acknowledge", ALERT.alert_id, "--actor", "j.doe", "--note", "at it", *servers]
    assert await asyncio.to_thread(run, acknowledge) == 0
    capsys.readouterr()
    assert await asyncio.to_thread(run, ["alerts", "ls", "--json", *servers]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["alert_id"], row["acknowledged"]["actor"], row["acknowledged"]["note"]) == (
        ALERT.alert_id,
        "j.doe",
        "at it",
    )
