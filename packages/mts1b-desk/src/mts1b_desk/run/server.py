"""A server of the run's own, whose streams are in memory: for runs that keep nothing."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from mts1b_platform.eventbus import STREAMS, apply_streams, connect
from mts1b_platform.server import NatsServer


@asynccontextmanager
async def server_in_memory() -> AsyncGenerator[NatsServer]:
    """A server with every stream, in memory; it ends with the block.

    It runs on one thread: one chain of events after the other goes through it, and threads that wake each other for
    each of them cost more than they bring.

    Raises:
        ServerError: there is no nats-server on this machine, or it does not come up.
    """
    async with NatsServer(threads=1) as server:
        async with await connect(server.url) as bus:
            await apply_streams(bus, streams=[replace(stream, storage="memory") for stream in STREAMS])
        yield server
