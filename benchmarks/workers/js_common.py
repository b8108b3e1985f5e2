"""JetStream workers' share: the stream, the durable, and a main with modes."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.connection import Connection
from mts1b_platform.eventbus.protocol.message import WireMsg
from nats.aio import client as nats_py

STREAM, DURABLE, SUBJECT = "OMS_ORDERS", "benchmark", "mts.v1.oms.orders.created"
Client = nats_py.Client | EventBus | Connection
"""What a worker talks to the server through."""
Mode = Callable[[str, int], Awaitable[dict[str, Any]]]


async def api(client: Client, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the JetStream API; errors are answers too."""
    answer = await client.request(f"$JS.API.{verb}", json.dumps(body).encode() if body else b"", timeout=10)
    document: dict[str, Any] = json.loads(answer.payload if isinstance(answer, WireMsg) else answer.data)
    return document


async def fresh_stream(client: Client) -> None:
    """An empty file stream that takes atomic batches and fast ingest."""
    await api(client, f"STREAM.DELETE.{STREAM}")
    subjects = ["mts.v1.oms.orders.*", "mts.v1.oms.orders.*.fund.*"]
    body = {"name": STREAM, "subjects": subjects, "storage": "file", "allow_atomic": True, "allow_batched": True}
    created = await api(client, f"STREAM.CREATE.{STREAM}", body)
    assert "error" not in created, created


async def forget_durable(client: Client) -> None:
    """Whoever reads next begins at the start of the stream."""
    await api(client, f"CONSUMER.DELETE.{STREAM}.{DURABLE}")


async def fresh_durable(client: Client, **more: Any) -> None:
    """A durable that begins at the start of the stream."""
    await forget_durable(client)
    config = {"durable_name": DURABLE, "ack_policy": "explicit", "max_ack_pending": 20_000, **more}
    created = await api(client, f"CONSUMER.CREATE.{STREAM}.{DURABLE}", {"stream_name": STREAM, "config": config})
    assert "error" not in created, created


def main(**modes: Mode) -> None:
    """Run one mode: ``worker.py mode url count``."""
    name, url, count = sys.argv[1:4]
    print(json.dumps(asyncio.run(_run(modes[name], url, int(count)))))


async def _run(mode: Mode, url: str, count: int) -> dict[str, Any]:
    return await mode(url, count)
