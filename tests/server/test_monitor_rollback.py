"""A bus whose machine is rolled back to a snapshot, while services elsewhere and the monitor are ahead of it."""

import shutil
from pathlib import Path

from mts1b_foundation.samples import FILL
from mts1b_foundation.subjects import OMS_FILLS_CREATED
from mts1b_operations.monitor import Monitor, MonitorSettings
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.settings import DEFAULTS, Threshold
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

PATIENT = {
    Watch.SLOW_CONSUMER: Threshold(critical=300, clear=100),
    Watch.SERVER: Threshold(critical=300, clear=100),
}


async def emit(bus: EventBus, *numbers: int) -> None:
    await bus.emit_many(OMS_FILLS_CREATED, [FILL.model_copy(update={"fill_id": f"fill-{n}"}) for n in numbers])


async def test_a_bus_that_is_rolled_back_to_a_snapshot_is_told_until_somebody_knows(
    nats_server: NatsServer, bus: EventBus, connect_bus: ConnectBus, tmp_path: Path
):
    await apply_streams(bus)
    operations = await connect_bus("mts1b-operations")
    settings = MonitorSettings(thresholds=DEFAULTS | PATIENT, probe_timeout=60, remember=tmp_path / "streams.json")
    await emit(bus, 1, 2)
    nats_server.kill()
    snapshot = shutil.copytree(nats_server.store_dir, tmp_path / "yesterday")
    await nats_server.restart()
    await emit(bus, 3, 4, 5)
    assert await Monitor(operations, settings).look() == []

    nats_server.kill()
    shutil.rmtree(nats_server.store_dir)
    shutil.copytree(snapshot, nats_server.store_dir)
    await nats_server.restart()
    monitor = Monitor(operations, settings)  # it was started anew, too
    assert await monitor.look() == []
    (raised,) = await monitor.look()
    assert (raised.name, raised.severity, raised.value) == ("rolled_back", "critical", 3)
    assert "events that were stored are gone from OMS_FILLS (3)" in raised.summary

    await emit(bus, 6, 7, 8, 9)  # under the sequences of those that are gone, and beyond
    assert await monitor.look() == []
    monitor.known.add(raised.alert_id)
    (cleared,) = await monitor.look()
    assert (cleared.alert_id, cleared.value) == (raised.alert_id, 0)
    assert await Monitor(operations, settings).look() == []
