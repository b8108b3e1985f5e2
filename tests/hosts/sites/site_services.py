"""What runs at a site while the line to the other one is cut: ``python site_services.py emit|read|copy PREFIX …``.

A line of JSON for each order that was acknowledged, read or copied, with the moment on the clock that all processes of
a machine share (monotonic seconds).
"""

import asyncio
import json
import signal
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

sys.path.append(str(Path(__file__).parents[1] / "cluster"))

from cluster_load import DURABLE
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import record_of
from mts1b_deploy.streams import ADMIN, connect_as
from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.eventbus.history.direct_get import DirectGet
from mts1b_platform.eventbus.jetstream.api import js_api
from site_pair import order

STREAM: Final = "OMS_ORDERS"


async def emit(config: str, place: str, pause: float, stopping: asyncio.Event) -> None:
    """As mts1b-oms: one order after the other, each stored before the next one."""
    async with await connect(config=config, service="mts1b-oms", connect_timeout=20) as bus:
        for number in count():
            key = f"{place}-{number}"
            say(key, (await bus.emit(OMS_ORDERS_FILLED, order(key), deadline=100)).seq)
            if stopping.is_set():
                return
            await asyncio.sleep(pause)


async def read(config: str, stopping: asyncio.Event) -> None:
    """As mts1b-treasury: what a durable of the hub is given."""
    async with await connect(config=config, service="mts1b-treasury", connect_timeout=20) as bus:
        ending = asyncio.create_task(stopping.wait())
        reading = asyncio.create_task(_read(bus))
        await asyncio.wait((ending, reading), return_when=asyncio.FIRST_COMPLETED)
        for task in (ending, reading):
            task.cancel()
        await asyncio.gather(ending, reading, return_exceptions=True)


async def _read(bus: EventBus) -> None:
    async for event in bus.consume(OMS_ORDERS_FILLED, durable=DURABLE):
        async with event:
            say(event.payload.idempotency_key, event.seq)


async def copy(prefix: str, stopping: asyncio.Event) -> None:
    """As somebody who looks at the mirror: what it holds, as it comes."""
    layout = Layout(Path(prefix))
    seen = 0
    while not stopping.is_set():
        with suppress(Mts1bError):  # its server starts anew after a cut
            async with await connect_as(ADMIN, layout, record_of(layout)) as bus:
                get = DirectGet(bus, STREAM, f"$JS.API.DIRECT.GET.{STREAM}")
                while not stopping.is_set():
                    last = (await js_api(bus, f"STREAM.INFO.{STREAM}"))["state"]["last_seq"]
                    async for batch in get.batches(seen + 1, last, ">"):
                        for each in batch:
                            say(json.loads(each.wire.payload)["idempotency_key"], each.seq)
                            seen = each.seq
                    await asyncio.sleep(0.1)


def say(key: str, seq: int) -> None:
    print(json.dumps({"at": time.monotonic(), "key": key, "seq": seq}), flush=True)


async def main() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    role, prefix, *rest = sys.argv[1:]
    config = f"{prefix}/etc/mts1b.toml"
    if role == "emit":
        await emit(config, rest[0], float(rest[1]), stopping)
    elif role == "read":
        await read(config, stopping)
    else:
        await copy(prefix, stopping)


if __name__ == "__main__":
    asyncio.run(main())
