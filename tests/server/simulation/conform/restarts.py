"""Scenes in which the server is killed and started again. The client is another one afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from simulation.conform.client import Client
from simulation.conform.scenes import make, make_stream, pull, tell_state

RestartScene = Callable[[Client, str, Callable[[], Awaitable[None]]], Awaitable[None]]
RESTARTS: Final[dict[str, RestartScene]] = {}


def scene(function: RestartScene) -> RestartScene:
    """Add a scene. It is given a client, a name for its streams, and what restarts the server and reconnects."""
    RESTARTS[function.__name__] = function
    return function


@scene
async def what_was_delivered_comes_again_after_its_ack_wait(
    client: Client, name: str, restart: Callable[[], Awaitable[None]]
) -> None:
    await make(client, name, 5, ack_wait=2.0)
    pull(client, name, 3)
    await client.hear(3)
    client.note(await client.ask(client.replies()[1], b"+ACK"))
    client.publish(client.replies()[3], "-NAK")
    old = client.replies()[2]
    await asyncio.sleep(0.6)
    client.tell()
    await restart()
    await tell_state(client, name)
    pull(client, name, 10)
    await client.hear(4)
    client.tell()
    client.note(f"by an old reply: {await client.ask(old, b'+ACK')}")
    await tell_state(client, name)


@scene
async def message_ids_are_remembered(client: Client, name: str, restart: Callable[[], Awaitable[None]]) -> None:
    await make_stream(client, name, duplicate_window=60_000_000_000)
    client.note(await client.ask(f"{name}.m", b"x", {"Nats-Msg-Id": "k"}))
    batch = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"}
    client.note(await client.ask(f"{name}.m", b"x", batch))
    await restart()
    client.note(await client.ask(f"{name}.m", b"x", {"Nats-Msg-Id": "k"}))
    batch |= {"Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
    client.note(await client.ask(f"{name}.m", b"x", batch))
    client.note(await client.ask(f"{name}.m", b"y"))
