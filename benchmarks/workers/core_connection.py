"""Typed events through the bare connection: templates, the bus's codec, the same six headers."""

import asyncio
import time
from typing import Any

from common import MODELS, PATTERNS, SUBJECTS, TRACE, Stopwatch, events, main, paced, percentiles, say, static_headers
from mts1b_platform.eventbus.codec.payload import decoder, encoder
from mts1b_platform.eventbus.connection import Connection, ConnectionOptions
from mts1b_platform.eventbus.protocol.envelope_reader import StaticHeaderCache, read_ids
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from mts1b_platform.eventbus.protocol.message import RawMsg


async def subscribe(url: str, count: int, kind: str, rate: float) -> None:
    connection = Connection(ConnectionOptions(servers=(url,)))
    await connection.connect(10)
    schema, validate = MODELS[kind].schema_id(), decoder(MODELS[kind])
    read = StaticHeaderCache().read
    received = 0
    latencies: list[int] = []
    done = asyncio.Event()

    def take(batch: list[RawMsg]) -> None:
        nonlocal received
        for _, _, head, payload in batch:
            if read(head).schema != schema:
                raise ValueError(head)
            validate(payload)
            if rate:
                latencies.append(time.monotonic_ns() - int(read_ids(head).msg_id))
        received += len(batch)
        if received >= count:
            done.set()

    connection.subscribe(PATTERNS[kind], take)
    await connection.flush()
    watch = Stopwatch()
    say({"ready": True})
    await done.wait()
    say(watch.figures(**(percentiles(latencies) if rate else {})))
    await connection.close()


async def publish(url: str, count: int, kind: str, rate: float) -> None:
    connection = Connection(ConnectionOptions(servers=(url,)))
    await connection.connect(10)
    made: list[Any] = events(kind)
    template = FrameTemplate(SUBJECTS[kind], static_headers(kind))
    to_json = encoder(MODELS[kind])
    send = connection.send
    watch = Stopwatch()
    if rate:
        async for n in paced(count, rate):
            send(template.encode(to_json(made[n % len(made)]), TRACE, str(time.monotonic_ns())))
    else:
        for n in range(count):
            send(template.encode(to_json(made[n % len(made)]), TRACE, str(time.monotonic_ns())))
            if connection.above_high_water:
                await connection.writable()
    await connection.flush()
    say(watch.figures())
    await connection.close()


main(subscribe, publish)
