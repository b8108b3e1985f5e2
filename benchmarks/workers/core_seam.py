"""Typed events through the seam: templates, batches, the bus's codec; the same six headers."""

import time
from typing import Any

from common import MODELS, PATTERNS, SUBJECTS, TRACE, Stopwatch, events, main, paced, percentiles, say, static_headers
from mts1b_platform.eventbus.codec.payload import decoder, encoder
from mts1b_platform.eventbus.plain import open_lane
from mts1b_platform.eventbus.protocol.envelope_reader import StaticHeaderCache, read_ids
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from nats.aio.client import Client


async def subscribe(url: str, count: int, kind: str, rate: float) -> None:
    client = Client()
    lane = await open_lane(client)
    assert lane.fast, lane.reason
    await client.connect(url)
    schema, validate = MODELS[kind].schema_id(), decoder(MODELS[kind])
    read = StaticHeaderCache().read
    received = 0
    latencies: list[int] = []
    batches = await lane.subscribe_batches(PATTERNS[kind], pending_msgs_limit=1 << 30, pending_bytes_limit=0)
    await client.flush()
    watch = Stopwatch()
    say({"ready": True})
    async for batch in batches:
        for _, _, head, payload in batch:
            if read(head).schema != schema:
                raise ValueError(head)
            validate(payload)
            if rate:
                latencies.append(time.monotonic_ns() - int(read_ids(head).msg_id))
        received += len(batch)
        if received >= count:
            break
    say(watch.figures(**(percentiles(latencies) if rate else {})))
    await client.close()


async def publish(url: str, count: int, kind: str, rate: float) -> None:
    client = Client()
    lane = await open_lane(client)
    await client.connect(url)
    made: list[Any] = events(kind)
    template = FrameTemplate(SUBJECTS[kind], static_headers(kind))
    to_json = encoder(MODELS[kind])
    watch = Stopwatch()
    if rate:
        async for n in paced(count, rate):
            payload = to_json(made[n % len(made)])
            lane.send(template.encode(payload, TRACE, str(time.monotonic_ns())), len(payload))
    else:
        for n in range(count):
            payload = to_json(made[n % len(made)])
            lane.send(template.encode(payload, TRACE, str(time.monotonic_ns())), len(payload))
            if lane.crowded:
                await lane.room()
    await client.flush()
    say(watch.figures())
    await client.close()


main(subscribe, publish)
