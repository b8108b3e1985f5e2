"""The examples run as they are, each in a process of its own, against a real server."""

import asyncio
import os
import runpy
import subprocess
import sys
from pathlib import Path

from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import EventBus
from mts1b_platform.server import NatsServer

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 60
"""Seconds to wait for what comes at once unless the machine stands still."""
ROOT = Path(__file__).parents[2]


def environment(server: NatsServer) -> dict[str, str]:
    return {**os.environ, "MTS1B_NATS_URL": server.url, "MTS1B_CONFIG": ""}


async def run(name: str, server: NatsServer) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / name, env=environment(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_the_specs_producer_stores_an_order_once_that_it_publishes_twice(bus: EventBus, nats_server: NatsServer):
    out = await run("spec_producer.py", nats_server)
    assert out.splitlines() == ["OMS_ORDERS 1 stored", "OMS_ORDERS 1 duplicate"]
    assert (await bus.jetstream().stream_info("OMS_ORDERS")).state.messages == 1


async def test_the_specs_consumer_gets_filled_orders_and_naks_what_its_handler_fails_on(
    bus: EventBus, nats_server: NatsServer, tmp_path: Path
):
    # the example as it stands, but for a handler that fails on the first delivery and a delay that a test can wait for
    source = (EXAMPLES / "spec_consumer.py").read_text()
    failing = source.replace("delay=30.0", "delay=0.5").replace(
        "    print(order.order_id", "    fail_once(order)\n    print(order.order_id"
    )
    helper = "SEEN = set()\ndef fail_once(order):\n    if order.order_id not in SEEN:\n"
    helper += "        SEEN.add(order.order_id)\n        raise RuntimeError('not yet')\n\n"
    script = tmp_path / "consumer.py"
    script.write_text(failing.replace("def handle(", helper + "def handle("))
    now = ORDER.updated_at
    filled: Order = ORDER.accept(now).fill(ORDER.quantity, ORDER.limit_price or ORDER.quantity, now)
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, env=environment(nats_server), stdout=subprocess.PIPE
    )
    try:
        await bus.emit(OMS_ORDERS_FILLED, filled)
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
        assert line.startswith(f"{filled.order_id} filled")
        deliveries = (await bus.jetstream().consumer_info("OMS_ORDERS", "my-consumer")).delivered
        assert deliveries is not None
        assert deliveries.consumer_seq == 2
    finally:
        process.kill()
        await process.wait()


async def test_the_typed_orders_run_and_leave_no_durable_that_stays(bus: EventBus, nats_server: NatsServer):
    assert "stored in OMS_ORDERS at 1" in await run("orders.py", nats_server)
    for left in await bus.jetstream().consumers_info("OMS_ORDERS"):
        assert left.config.inactive_threshold == 60


async def test_the_typed_quotes_run(nats_server: NatsServer):
    assert "bid 41000.0" in await run("quotes.py", nats_server)


async def test_of_two_instances_one_handles_the_orders_and_the_other_takes_over(nats_server: NatsServer):
    lines = (await run("standby.py", nats_server)).splitlines()
    first, second = lines[0].split()[0], lines[-1].split()[0]
    assert {first, second} == {"one", "two"}
    enough = {"one": 3, "two": 2}[first]
    assert [line.split()[0] for line in lines] == [first] * enough + [second] * (5 - enough)
    assert [line.split()[2][-1] for line in lines] == list("01234"), "in order"


def test_the_simulated_service_books_every_fill_once():
    runpy.run_path(str(EXAMPLES / "simulated.py"))["main"](3)


def test_the_readme_shows_the_example_that_is_tested():
    readme = (ROOT / "README.md").read_text()
    body = (EXAMPLES / "orders.py").read_text().split("async def main")[1].split("if __name__")[0]
    for line in body.strip().splitlines():
        assert line.strip() in readme, line
