"""A power cut, for real: what the node had not synced to its disk is gone. What each profile loses then, and what not.

The store lies on an ext4 file system of its own, on a loop device. The cut is ext4's own (``EXT4_IOC_SHUTDOWN`` without
flushing the journal, as the kernel developers' test suite simulates power failures): from that instant nothing reaches
the disk any more, and everything that was only in the kernel's memory is lost. Then the server is killed, what is
left on the disk is mounted again, which replays its journal, and a new server starts on it.

It needs Linux and root that may mount (``CAP_SYS_ADMIN``) with a loop device; without root the tests are skipped, since
nothing that a user may do loses what the kernel holds.
"""

import asyncio
import contextlib
import fcntl
import os
import random
import struct
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
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.server import NatsServer

pytestmark = [
    pytest.mark.slow(seconds=10),
    pytest.mark.privileged,
]

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_WITHOUT_LOG_FLUSH = 2
_EMITTERS = 16


class Disk:
    """A disk whose power can be cut."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._devices: list[str] = []
        self.mount_point = directory / "disk"
        self.mount_point.mkdir()
        with self._image.open("wb") as image:
            image.truncate(512 * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,nodiscard", self._image)
        self._mount()

    @property
    def _image(self) -> Path:
        """What the disk holds since it was last switched on."""
        return self._directory / f"disk-{len(self._devices)}.img"

    def _mount(self) -> None:
        image = self._image
        self._devices.append(_run("losetup", "--find", "--show", image))
        _run("mount", self._devices[-1], self.mount_point)

    def cut(self) -> None:
        """Power off, this instant: what was not synced is lost."""
        handle = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG_FLUSH))
        finally:
            os.close(handle)

    def power_on(self) -> None:
        """Replay the journal of what has reached the disk; nobody may have a file open on it.

        A copy of it: whoever entered a mount namespace of his own meanwhile, as `ip netns exec` does, keeps the dead
        file system alive, and mounting its device again would give just that one.
        """
        dead = self._directory / f"disk-{len(self._devices) - 1}.img"
        _run("cp", "--sparse=always", dead, self._image)
        _run("umount", self.mount_point)
        self._mount()

    def take_away(self) -> None:
        """Unmount whatever state it is in."""
        for command in (("umount", "-l", self.mount_point), *(("losetup", "-d", device) for device in self._devices)):
            subprocess.run(command, check=False, capture_output=True)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))} failed: {done.stderr}"
    return done.stdout.strip()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    try:
        yield made
    finally:
        made.take_away()


def _server(disk: Disk, profile: str) -> NatsServer:
    """A server that stores as ``profile`` does: with the very lines that an installation gets."""
    template = "minimal.conf.j2" if profile == "minimal" else "jetstream.conf.j2"
    conf = disk.mount_point.parent / "nats.conf"
    values = {"server_name": "node", "host": "127.0.0.1", "port": -1, "monitor_port": -1}
    files = {"pid_file": conf.with_suffix(".pid"), "log_file": "", "store_dir": disk.mount_point / "store"}
    conf.write_text(
        template_environment()
        .get_template(template)
        .render(**values, **files, template=template, domain=None, encryption_key_file=None, max_file_store=400_000_000)
    )
    return NatsServer(conf.parent / "node", config=conf, jetstream=False, timeout=60)  # the configuration has JetStream


def _order(number: int) -> Order:
    return ORDER.model_copy(update={"order_id": f"order-{number}", "idempotency_key": str(number)})


async def _load(bus: EventBus, acked: dict[str, int], first: int) -> None:
    """Emit orders until the power is gone; ``acked`` has the sequence of each one that was acknowledged."""
    numbers = iter(range(first, first + 1_000_000))

    async def emitter() -> None:
        for number in numbers:
            ack = await bus.emit(OMS_ORDERS_CREATED, _order(number), deadline=60)
            acked[str(number)] = ack.seq

    async with asyncio.TaskGroup() as group:
        for _ in range(_EMITTERS):
            group.create_task(emitter())


async def _cut_under_load(disk: Disk, server: NatsServer, acks: int, first: int) -> dict[str, int]:
    """Cut the power as soon as ``acks`` orders were acknowledged; what had been acknowledged before the cut."""
    acked: dict[str, int] = {}
    bus = await connect(server.url, service="mts1b-oms")
    load = asyncio.create_task(_load(bus, acked, first))
    while len(acked) < acks:
        assert not load.done(), load.exception()
        await asyncio.sleep(0)
    before = dict(acked)
    disk.cut()
    server.kill()
    load.cancel()
    with contextlib.suppress(asyncio.CancelledError, BusError, ExceptionGroup):
        await load
    await bus.close()
    return before


async def _stored(server: NatsServer) -> Counter[str]:
    """How often each order is stored; empty when the stream itself is gone."""
    async with await connect(server.url, service="mts1b-brokers") as bus:
        await apply_streams(bus)
        expected = (await js_api(bus, "STREAM.INFO.OMS_ORDERS"))["state"]["messages"]
        reading = await bus.jetstream().subscribe("mts.v1.oms.orders.>", ordered_consumer=True)
        read = [await reading.next_msg(timeout=60) for _ in range(expected)]
        return Counter(Order.model_validate_json(message.data).idempotency_key for message in read)


async def _power_cuts(disk: Disk, profile: str, cuts: int, seed: int) -> tuple[set[str], set[str], Counter[str]]:
    """Acknowledged orders, those of them that were lost, and how often each order is stored at the end."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    acked: set[str] = set()
    for cut in range(cuts):
        server = _server(disk, profile)
        await server.start()
        try:
            if cut == 0:
                async with await connect(server.url) as bus:
                    await apply_streams(bus)
            acked |= set(await _cut_under_load(disk, server, chance.randint(50, 400), cut * 1_000_000))
        finally:
            server.kill()
        disk.power_on()
    server = await _server(disk, profile).start()
    try:
        stored = await _stored(server)
    finally:
        server.kill()
    return acked, acked - set(stored), stored


async def test_single_loses_nothing_acknowledged_in_a_power_cut_and_stores_nothing_twice(
    disk: Disk, record_property: Callable[[str, object], None]
):
    began = time.monotonic()
    acked, lost, stored = await _power_cuts(disk, "single", cuts=5, seed=7)
    took = f"five cuts under load, and the server back after each, in {time.monotonic() - began:.1f} s"
    record_property("drill", ("power cut", f"{len(lost)} of {len(acked)} acknowledged lost", took))
    assert len(acked) > 250
    assert not lost
    assert stored.most_common(1)[0][1] == 1


async def test_minimal_loses_what_it_acknowledged_shortly_before_a_power_cut(disk: Disk):
    acked, lost, _ = await _power_cuts(disk, "minimal", cuts=1, seed=7)
    print(f"minimal: {len(acked)} acknowledged, 1 power cut, {len(lost)} lost")
    assert lost
