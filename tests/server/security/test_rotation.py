"""Certificates are renewed and permissions change while events flow: none is lost, no service is disconnected."""

import asyncio
import shutil
from dataclasses import replace
from typing import Any, Self

import pytest
from cryptography import x509
from locked_server import PATIENCE, Locked
from mts1b_deploy.permissions import Grant, all_permissions
from mts1b_deploy.secure import issue_missing
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import AccessDenied, Consumer, EventBus
from mts1b_platform.eventbus.declared import declared


class Load:
    """Filled orders from one service to another, as fast as each is acknowledged."""

    def __init__(self, producer: EventBus, consumer: EventBus) -> None:
        self.acked: list[str] = []
        self.handled: list[str] = []
        self._producer = producer
        self._consumer = consumer
        self._stop = False

    async def __aenter__(self) -> Self:
        self._reader = self._consumer.consume(OMS_ORDERS_FILLED, durable="my-consumer")
        await self._reader.start()
        self._tasks = [asyncio.create_task(self._produce()), asyncio.create_task(self._consume())]
        await self.more()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.wait_for(self._tasks[0], PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while len(self.handled) < len(self.acked):  # noqa: ASYNC110 - the reader is another task's
                await asyncio.sleep(0.01)
        await self._reader.stop()
        await self._tasks[1]

    async def more(self, count: int = 50) -> None:
        """Wait until ``count`` more events have come through; raises when the load has broken down."""
        goal = len(self.handled) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.handled) < goal:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def _produce(self) -> None:
        now = ORDER.updated_at
        number = 0
        while not self._stop:
            number += 1
            order: Order = ORDER.model_copy(update={"order_id": f"o-{number}", "idempotency_key": f"k-{number}"})
            filled = order.accept(now).fill(order.quantity, order.limit_price or order.quantity, now)
            await self._producer.emit(OMS_ORDERS_FILLED, filled)
            self.acked.append(filled.order_id)

    async def _consume(self) -> None:
        async for event in self._reader:
            async with event:
                self.handled.append(event.payload.order_id)


async def patient_bus(locked: Locked, service: str) -> EventBus:
    """One that does not take a server that stands still for one that is gone: here disconnects are counted."""
    return await locked.bus(service, ping_interval=60)


def serial_on_disk(locked: Locked, name: str) -> int:
    return x509.load_pem_x509_certificate(locked.pki.pem(name).read_bytes()).serial_number


async def test_every_certificate_is_renewed_under_load_and_nobody_notices(locked: Locked):
    oms, treasury = (
        await patient_bus(locked, "mts1b-oms"),
        await patient_bus(locked, "mts1b-treasury"),
    )
    async with Load(oms, treasury) as load:
        for _ in range(3):
            before = serial_on_disk(locked, "server")
            locked.pki.rotate()
            assert serial_on_disk(locked, "server") != before
            await locked.reload()
            await load.more()
        assert await locked.presented_serial() == serial_on_disk(locked, "server")
    assert load.handled == load.acked
    assert (oms.counters.disconnects, treasury.counters.disconnects) == (0, 0)


async def test_an_authority_is_replaced_under_load_and_everybody_trusts_the_new_one_at_the_next_login(locked: Locked):
    oms, treasury = await locked.bus("mts1b-oms"), await locked.bus("mts1b-treasury")
    async with Load(oms, treasury) as load:
        shutil.move(locked.pki.directory, locked.pki.directory.with_name("lost"))
        locked.pki.init()
        issue_missing(locked.pki, ["127.0.0.1", "localhost"], locked.checkouts)
        await locked.server.restart()
        await load.more()
    assert sorted(set(load.handled)) == sorted(load.acked)
    assert min(oms.counters.reconnects, treasury.counters.reconnects) > 0


async def test_permissions_change_under_load_and_nobody_notices(locked: Locked):
    oms, treasury = (
        await patient_bus(locked, "mts1b-oms"),
        await patient_bus(locked, "mts1b-treasury"),
    )
    research = await patient_bus(locked, "mts1b-research")
    usual = all_permissions(declared(locked.checkouts).sources)
    more = replace(
        usual["mts1b-research"],
        grants=(*usual["mts1b-research"].grants, Grant("publish", "mts.v1.extra.orders.created", "a test")),
    )
    async with Load(oms, treasury) as load:
        for permissions, allowed in ((usual | {"mts1b-research": more}, True), (usual, False)):
            locked.render(permissions)
            await locked.reload()
            await research.publish("mts.v1.extra.orders.created", b"{}")
            if allowed:
                await research.flush()
            else:
                with pytest.raises(AccessDenied):
                    await research.flush()
            await load.more()
    assert load.handled == load.acked
    assert [bus.counters.disconnects for bus in (oms, treasury, research)] == [0, 0, 0]


@pytest.mark.slow(seconds=8)
async def test_a_reader_whose_permission_is_withdrawn_is_told(locked: Locked):
    treasury = await patient_bus(locked, "mts1b-treasury")
    usual = all_permissions(declared(locked.checkouts).sources)
    less = replace(
        usual["mts1b-treasury"],
        grants=tuple(each for each in usual["mts1b-treasury"].grants if "my-consumer" not in each.subject),
    )
    async with treasury.consume(OMS_ORDERS_FILLED, durable="my-consumer") as filled:
        locked.render(usual | {"mts1b-treasury": less})
        await locked.reload()
        now, oms = ORDER.updated_at, await patient_bus(locked, "mts1b-oms")
        await oms.emit(OMS_ORDERS_FILLED, ORDER.accept(now).fill(ORDER.quantity, ORDER.quantity, now))
        with pytest.raises(AccessDenied, match=r"\.OMS_ORDERS\.my-consumer: mts1b-treasury may not publish"):
            await asyncio.wait_for(_read_on(filled), PATIENCE)


async def test_a_service_whose_certificate_was_revoked_comes_back_with_its_new_one_and_loses_nothing(locked: Locked):
    oms, treasury = (
        await patient_bus(locked, "mts1b-oms"),
        await patient_bus(locked, "mts1b-treasury"),
    )
    async with Load(oms, treasury) as load:
        locked.pki.revoke("mts1b-oms")
        locked.pki.issue("mts1b-oms")
        locked.render()
        await locked.reload()
        await locked.until(lambda: oms.counters.reconnects == 1)
        await load.more()
    assert sorted(set(load.handled)) == sorted(load.acked)
    assert treasury.counters.disconnects == 0


async def test_a_broken_configuration_is_refused_and_the_old_one_goes_on(locked: Locked):
    oms, treasury = (
        await patient_bus(locked, "mts1b-oms"),
        await patient_bus(locked, "mts1b-treasury"),
    )
    async with Load(oms, treasury) as load:
        locked.conf.write_text(locked.conf.read_text() + "\naccounts {")
        locked.hang_up()
        await locked.logged("Failed to reload server configuration")
        await load.more()
    assert load.handled == load.acked
    assert (oms.counters.disconnects, treasury.counters.disconnects) == (0, 0)


async def _read_on(consumer: Consumer[Any]) -> None:
    """Read for ever; what was asked for before a change still comes."""
    async for _ in consumer:
        pass
