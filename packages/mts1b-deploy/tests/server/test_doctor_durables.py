"""What `doctor` says of declared durables, on a real server."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from mts1b_deploy.doctor.bus_checks import check_durables, check_instances
from mts1b_deploy.record import InstallRecord
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.consumers import reads
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.jetstream.apply_consumers import apply_consumers

BOOKS = Path(__file__).parents[4] / "tests" / "checkouts" / "books-twice"
RECORD = cast("InstallRecord", SimpleNamespace(checkouts=(BOOKS,)))


async def found(bus: EventBus) -> set[tuple[str, str]]:
    return {(each.code, each.what.split()[1]) async for each in check_durables(bus, RECORD) if "treasury" in each.what}


async def test_a_durable_that_is_missing_or_plain_though_several_instances_are_declared_is_named(bus: EventBus):
    wanted = next(source for source in declared((BOOKS,)).sources if source.root == BOOKS).consumers
    assert {("durable-missing", each.durable) for each in wanted} <= await found(bus)
    await apply_consumers(bus, [reads("mts1b-treasury", "books", OMS_ORDERS_CREATED)])
    assert ("durable-drift", "books") in await found(bus)
    await apply_consumers(bus, wanted)
    assert not {durable for _, durable in await found(bus)} & {each.durable for each in wanted}


async def test_messages_that_no_instance_is_handed_are_named_and_what_one_is_handed_is_not(bus: EventBus):
    async def without() -> list[str]:
        return [each.what async for each in check_instances(bus, RECORD) if "books on" in each.what]

    wanted = next(source for source in declared((BOOKS,)).sources if source.root == BOOKS).consumers
    await apply_consumers(bus, wanted)
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    assert not await without(), "nobody has ever read it: that service does not run here"
    orders = bus.consume(OMS_ORDERS_CREATED, durable="books", ordered_by="fund_id", instances="standby")
    async with await anext(orders):
        assert not await without()
    await orders.stop()
    assert not await without(), "nothing waits"
    await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"idempotency_key": "second"}))
    assert await without() == ["durable books on stream OMS_ORDERS: no instance is handed its messages, waiting: 1"]
