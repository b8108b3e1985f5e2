"""The bus in an interpreter without the compiled core, beside one that may have it: pure Python answers and says so."""

import asyncio
import json
import os
import sys

from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus
from mts1b_platform.server import NatsServer

WAIT = 60.0
WITHOUT = """
import asyncio, sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mts1b_wire":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())

from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import connect
from mts1b_platform.logs import configure_logging

async def main():
    for _ in range(2):
        async with await connect(sys.argv[1], service="mts1b-treasury"):
            pass
    async with (
        await connect(sys.argv[1], service="mts1b-treasury") as treasury,
        await connect(sys.argv[1], service="mts1b-oms") as oms,
        await connect(sys.argv[1], service="mts1b-marketdata") as marketdata,
    ):
        quotes = treasury.listen(MARKETDATA_QUOTES, symbol=QUOTE.symbol)
        async with quotes, treasury.consume(OMS_ORDERS_CREATED, durable="t") as orders:
            async with await anext(orders) as event:
                assert event.payload == ORDER
            await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
            async with await anext(quotes) as heard:
                assert heard.payload == QUOTE
        await oms.emit_many(OMS_ORDERS_CREATED, [ORDER.model_copy(update={"idempotency_key": "k-2"})])

configure_logging(style="json")
asyncio.run(main())
assert "mts1b_wire" not in sys.modules
"""


async def test_a_process_without_the_compiled_core_reads_and_writes_what_others_do_and_says_once_what_is_at_work(
    bus: EventBus, nats_server: NatsServer
):
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    environment = {name: value for name, value in os.environ.items() if name not in ("MTS1B_CORE", "MTS1B_PURE")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WITHOUT, nats_server.url), stderr=asyncio.subprocess.PIPE, env=environment
    )
    _, said = await asyncio.wait_for(process.communicate(), WAIT)
    assert process.returncode == 0, said.decode()
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["at_work"] for line in lines if "at_work" in line] == ["pure Python (mts1b-wire is not installed)"]
    async with bus.consume(OMS_ORDERS_CREATED, durable="all") as orders:
        keys: list[str] = []
        for _ in range(2):
            async with await asyncio.wait_for(anext(orders), WAIT) as event:
                keys.append(event.payload.idempotency_key)
    assert keys == [ORDER.idempotency_key, "k-2"]
