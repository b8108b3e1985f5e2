"""A full disk and the way back, as one drill: nothing acknowledged is lost, nothing is stored twice, publishers go on.

Something else fills the disk of the store while events are published. The server stops storing; room is made and the
server started anew, as the runbook says. It needs root, for a small file system of its own.
"""

import asyncio
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mts1b_deploy.render import template_environment
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_operations.monitor.disks import Disks
from mts1b_operations.monitor.reading import Watch
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer

pytestmark = [pytest.mark.slow(seconds=6), pytest.mark.privileged]

_EMITTERS = 8
_SIZE = 48


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", f"size={_SIZE}m", "none", mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["/usr/bin/umount", "-l", mounted], check=True)


def server_on(disk: Path) -> NatsServer:
    """A server whose store is on the disk, with the lines that profile single gets."""
    conf = disk.parent / "nats.conf"
    values = {
        "store_dir": disk / "store",
        "encryption_key_file": None,
        "max_file_store": 10_000_000_000,
        "domain": None,
    }
    template = template_environment().get_template("jetstream.conf.j2")
    conf.write_text(template.render(**values))
    return NatsServer(disk.parent / "node", config=conf, jetstream=False, timeout=60)


class Load:
    """Orders that are emitted until they are stored, and which of them were acknowledged."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._next = 0
        self.acked: dict[str, int] = {}
        self.stopping = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(_EMITTERS):
                group.create_task(self._emit())

    async def _emit(self) -> None:
        while not self.stopping:
            self._next += 1
            key = str(self._next)
            order = ORDER.model_copy(update={"order_id": f"o{key}", "idempotency_key": key})
            self.acked[key] = (await self._bus.emit(OMS_ORDERS_CREATED, order, deadline=300)).seq

    async def until(self, acked: int) -> None:
        async with asyncio.timeout(120):
            while len(self.acked) < acked:  # noqa: ASYNC110 - a dict has no event
                await asyncio.sleep(0.01)

    async def until_nothing_is_acked(self) -> None:
        """Return when a second has passed without an acknowledgement."""
        async with asyncio.timeout(120):
            seen = -1
            while seen != len(self.acked):
                seen = len(self.acked)
                await asyncio.sleep(1)


async def test_a_full_disk_loses_nothing_acknowledged_and_publishing_goes_on_when_there_is_room(
    disk: Path, record_property: Callable[[str, object], None]
):
    server = await server_on(disk).start()
    try:
        async with await connect(server.url, service="mts1b-oms") as bus:
            await apply_streams(bus)
            load = Load(bus)
            running = asyncio.create_task(load.run())
            await load.until(200)

            with (disk / "somebody's file").open("wb", buffering=0) as other:
                while True:
                    try:
                        other.write(bytes(65_536))
                        other.flush()
                    except OSError:
                        break
            await load.until_nothing_is_acked()
            full = time.monotonic()
            (free, _) = Disks([disk]).read()
            assert (free.watch, free.value) == (Watch.DISK_FREE, pytest.approx(0, abs=0.01))
            before = set(load.acked)

            (disk / "somebody's file").unlink()
            await server.restart()
            await load.until(len(before) + 200)
            took = time.monotonic() - full
            load.stopping = True
            await running
            stored = await read_all(bus)
            lost = f"{len(load.acked.keys() - stored.keys())} of {len(load.acked)} acknowledged lost"
            record_property("drill", ("full disk", lost, f"storing again {took:.1f} s after the disk was found full"))
            assert before <= stored.keys()
            assert set(load.acked) <= stored.keys()
            assert max(stored.values()) == 1
    finally:
        server.kill()


async def read_all(bus: EventBus) -> Counter[str]:
    reading = await bus.jetstream().subscribe("mts.v1.oms.orders.>", ordered_consumer=True)
    expected = (await bus.jetstream().stream_info("OMS_ORDERS")).state.messages
    read = [await reading.next_msg(timeout=60) for _ in range(expected)]
    return Counter(Order.model_validate_json(message.data).idempotency_key for message in read)
