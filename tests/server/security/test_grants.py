"""A part of a claim that was granted to another repo: one broker's adapter, with an identity of its own."""

from pathlib import Path

import pytest
from locked_server import SPEC_READER, Locked, started
from mts1b_foundation.samples import BROKER_FILL, ORDER
from mts1b_foundation.subjects import BROKERS_FILLS_RAW, OMS_ORDERS_ACCEPTED
from mts1b_foundation.subjects.lint import check_registry
from mts1b_foundation.subjects.sources import load_sources
from mts1b_platform.eventbus import AccessDenied, EventBus, NotTheProducer
from mts1b_platform.eventbus.outbox.message import seal
from mts1b_platform.eventbus.protocol.envelope import SOURCE_REPO
from mts1b_platform.testing import ConnectBus

ADAPTER = Path(__file__).parents[2] / "checkouts" / "broker-ib"
OF_IB = BROKER_FILL.model_copy(update={"broker": "ib"})
OF_PAPER = BROKER_FILL.model_copy(update={"broker": "paper"})


async def read_one(bus: EventBus, durable: str) -> str:
    async with bus.consume(BROKERS_FILLS_RAW, durable=durable) as fills:
        fill = await anext(fills)
        await fill.ack()
    return f"{fill.source} {fill.parameters['broker']}"


async def test_on_a_locked_down_bus_the_adapter_publishes_for_its_broker_alone_and_its_owner_for_the_others(
    tmp_path: Path,
):
    async with started(Locked(tmp_path, checkouts=(SPEC_READER, ADAPTER))) as locked:
        adapter, brokers = await locked.bus("mts1b-broker-ib"), await locked.bus("mts1b-brokers")
        assert (await adapter.emit(BROKERS_FILLS_RAW, OF_IB)).seq == 1
        assert (await brokers.emit(BROKERS_FILLS_RAW, OF_PAPER)).seq == 2
        for bus, other in ((adapter, "paper"), (brokers, "ib")):
            with pytest.raises(AccessDenied):
                await bus.request(f"mts.v1.brokers.{other}.fills.raw", b"{}", timeout=5)
        oms = await locked.bus("mts1b-oms")
        async with oms.consume(BROKERS_FILLS_RAW, durable="oms-fills") as fills:
            for repo in ("mts1b-broker-ib", "mts1b-brokers"):
                async with await anext(fills) as fill:
                    assert fill.source == repo
        await oms.emit(OMS_ORDERS_ACCEPTED, ORDER)
        async with adapter.consume(OMS_ORDERS_ACCEPTED, durable="broker-ib") as orders, await anext(orders) as order:
            assert order.payload == ORDER


async def test_the_bus_says_who_publishes_a_granted_part(connect_bus: ConnectBus, bus: EventBus):
    adapter, brokers = await connect_bus("mts1b-broker-ib"), await connect_bus("mts1b-brokers")
    await adapter.emit(BROKERS_FILLS_RAW, OF_IB)
    assert await read_one(bus, "a") == "mts1b-broker-ib ib"
    with pytest.raises(
        NotTheProducer, match=r"mts\.v1\.brokers\.paper\.fills\.raw is published by mts1b-brokers alone"
    ):
        await adapter.emit(BROKERS_FILLS_RAW, OF_PAPER)
    with pytest.raises(NotTheProducer, match=r"mts\.v1\.brokers\.ib\.fills\.raw is published by mts1b-broker-ib alone"):
        await brokers.emit(BROKERS_FILLS_RAW, OF_IB)
    with pytest.raises(NotTheProducer):
        await adapter.emit(OMS_ORDERS_ACCEPTED, ORDER)


async def test_a_reader_takes_the_grantee_where_it_publishes_and_nowhere_else(connect_bus: ConnectBus, bus: EventBus):
    def envelope(repo: str) -> dict[str, str]:
        return {"mts-schema": BROKERS_FILLS_RAW.schema_id, SOURCE_REPO: repo}

    for fill, repo, number in (
        (OF_PAPER, "mts1b-broker-ib", 1),  # a broker that is not its own
        (OF_IB, "mts1b-oms", 2),
        (OF_IB, "mts1b-brokers", 3),  # stored before the grant
        (OF_IB, "mts1b-broker-ib", 4),
    ):
        headers = {**envelope(repo), "Nats-Msg-Id": str(number)}
        await bus.request(BROKERS_FILLS_RAW.format(fill), fill.model_dump_json().encode(), headers=headers, timeout=5)
    async with bus.consume(BROKERS_FILLS_RAW, durable="a") as fills:
        for seq in (3, 4):
            async with await anext(fills) as fill:
                assert fill.seq == seq
    assert bus.counters.schema_mismatch[BROKERS_FILLS_RAW.pattern] == 2
    del connect_bus


def test_an_outbox_of_the_adapter_takes_what_it_may_publish():
    sealed = seal(
        BROKERS_FILLS_RAW, OF_IB, service="mts1b-broker-ib", actor=None, msg_id=None, trace_id=None, headers=None
    )
    assert sealed.headers[SOURCE_REPO] == "mts1b-broker-ib"
    with pytest.raises(NotTheProducer):
        seal(BROKERS_FILLS_RAW, OF_IB, service="mts1b-brokers", actor=None, msg_id=None, trace_id=None, headers=None)


def test_the_check_passes_on_both_sides():
    assert check_registry(load_sources()) == []
    assert check_registry(load_sources([ADAPTER])) == []
