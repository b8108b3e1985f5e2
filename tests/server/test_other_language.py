"""A NATS client in another language reads what the bus writes, and the bus reads what it writes."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus
from mts1b_platform.server import NatsServer

SCRIPT = Path(__file__).parent / "js" / "order.mjs"


async def node(program: Path, server: NatsServer, verb: str, text: str = "") -> Any:
    process = await asyncio.create_subprocess_exec(
        str(program), SCRIPT, server.url, verb, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(text.encode()), 60)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


async def test_it_reads_an_order_with_the_documented_headers(bus: EventBus, nats_server: NatsServer, node_bin: Path):
    await bus.emit(OMS_ORDERS_CREATED, ORDER, trace_id="ab" * 16)
    seen = await node(node_bin, nats_server, "read")
    assert seen["subject"] == f"mts.v1.oms.orders.created.fund.{ORDER.fund_id}"
    assert seen["headers"] == {
        "Nats-Msg-Id": ORDER.idempotency_key,
        "content-type": "application/json",
        "mts-trace-id": "ab" * 16,
        "mts-source-repo": "mts1b-oms",
        "mts-schema": "mts1b_foundation.orders.Order:v1",
        "mts-actor": ORDER.actor,
    }
    assert Order.model_validate_json(json.dumps(seen["order"])) == ORDER


async def test_its_order_is_consumed_as_a_typed_event(bus: EventBus, nats_server: NatsServer, node_bin: Path):
    ack = await node(node_bin, nats_server, "publish", ORDER.model_dump_json())
    assert ack == {"stream": "OMS_ORDERS", "seq": 1, "duplicate": False}
    async with await asyncio.wait_for(anext(bus.consume(OMS_ORDERS_CREATED, durable="t")), 60) as event:
        assert event.payload == ORDER
        assert event.trace_id == "0af7651916cd43dd8448eb211c80319c"
        assert event.headers["X-Client"] == "node"
    assert (await bus.emit(OMS_ORDERS_CREATED, ORDER)).duplicate  # the same order from here is recognised
