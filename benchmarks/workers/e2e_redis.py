"""Orders through a Redis stream: XADD in pipelines here, XREADGROUP in batches and one XACK a batch there."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false
# reason: the contestant is partly untyped, and only there with the group "peers".

from typing import Any

from common import TRACE, Stopwatch, events, main, say, static_headers
from mts1b_foundation.orders import Order
from redis.asyncio import Redis

KEY, GROUP = "orders", "benchmark"
BATCH = 1_000


async def subscribe(url: str, count: int, _kind: str, _rate: float) -> None:
    client: Any = Redis.from_url(url)
    await client.delete(KEY)
    await client.xgroup_create(KEY, GROUP, id="0", mkstream=True)
    schema = Order.schema_id().encode()
    received = 0
    watch = Stopwatch()
    say({"ready": True})
    while received < count:
        answer: Any = await client.xreadgroup(GROUP, "one", {KEY: ">"}, count=BATCH, block=1000)
        for _, entries in answer:
            for _, fields in entries:
                assert fields[b"mts-schema"] == schema
                Order.model_validate_json(fields[b"data"])
            await client.xack(KEY, GROUP, *(number for number, _ in entries))
            received += len(entries)
    say(watch.figures())
    await client.aclose()


async def publish(url: str, count: int, _kind: str, _rate: float) -> None:
    client: Any = Redis.from_url(url)
    made: list[Any] = events("order")
    static = static_headers("order")
    watch = Stopwatch()
    for first in range(0, count, BATCH):
        pipeline = client.pipeline(transaction=False)
        for n in range(first, min(count, first + BATCH)):
            payload = made[n % len(made)].model_dump_json().encode()
            pipeline.xadd(KEY, {"data": payload, "Nats-Msg-Id": f"id-{n}", "mts-trace-id": TRACE, **static})
        await pipeline.execute()
    say(watch.figures())
    await client.aclose()


main(subscribe, publish)
