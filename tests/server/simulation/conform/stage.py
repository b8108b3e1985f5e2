"""Holding the scenes: with the real server side by side, with the model one after the other on virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from mts1b_platform.eventbus.connection import Network
from mts1b_platform.eventbus.connection.asyncio_network import AsyncioNetwork
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.simulation.clocks import simulated
from mts1b_platform.testing.simulation.network import SimNetwork
from mts1b_platform.testing.simulation.process import Process
from mts1b_platform.testing.simulation.server import NatsModel
from mts1b_platform.testing.simulation.world import World

from simulation.conform.client import Client
from simulation.conform.restarts import RESTARTS
from simulation.conform.scenes import SCENES, Scene


async def hold(scene: Scene, network: Network, address: str, port: int, stream: str) -> list[str]:
    """One conversation; its transcript."""
    client = await Client.open(network, address, port, stream)
    try:
        await scene(client, stream)
    except TimeoutError:
        client.note("nothing more came")
    client.close()
    return [line.replace(stream, "S") for line in client.lines]


async def with_the_real_server(port: int, name: str, stream: str = "") -> list[str]:
    """A scene with the server at this port; its streams are named after it, or as ``stream`` says."""
    return await hold(SCENES[name], AsyncioNetwork(), "127.0.0.1", port, (stream or name).upper())


def with_the_model(name: str, seed: int = 1) -> list[str]:
    """A scene with the model."""
    world = World(seed)
    server = NatsModel(world)
    lines: list[str] = []

    async def main(process: Process) -> None:
        lines.extend(await hold(SCENES[name], SimNetwork(process, server.listeners), "sim", 4222, name.upper()))

    _in_a_process(world, main)
    return lines


async def restarting_the_real_server(server: NatsServer, name: str, stream: str = "") -> list[str]:
    """A scene of ``RESTARTS`` with this server."""
    network = AsyncioNetwork()
    stream = (stream or name).upper()
    client = await Client.open(network, "127.0.0.1", server.port, stream)

    async def restart() -> None:
        server.kill()
        await server.start()
        await client.dial(network, "127.0.0.1", server.port)

    await RESTARTS[name](client, stream, restart)
    client.close()
    return [line.replace(stream, "S") for line in client.lines]


def restarting_the_model(name: str, seed: int = 1) -> list[str]:
    """A scene of ``RESTARTS`` with the model."""
    world = World(seed)
    server = NatsModel(world, keeps_files=True)
    lines: list[str] = []

    async def main(process: Process) -> None:
        network = SimNetwork(process, server.listeners)
        stream = name.upper()
        client = await Client.open(network, "sim", 4222, stream)

        async def restart() -> None:
            disk = server.snapshot(as_written=True)
            server.kill(keep=1.0)
            server.start(disk)
            await client.dial(network, "sim", 4222)

        await RESTARTS[name](client, stream, restart)
        client.close()
        lines.extend(line.replace(stream, "S") for line in client.lines)

    _in_a_process(world, main)
    return lines


def _in_a_process(world: World, main: Callable[[Process], Coroutine[Any, Any, None]]) -> None:
    with simulated(world):
        process = Process(world, "client", main)
        world.run(120.0)
    assert process.main.done(), "the conversation does not end"
    error = None if process.main.cancelled() else process.main.exception()
    if error is not None:
        raise error


async def all_with_the_real_server(port: int) -> dict[str, list[str]]:
    """All scenes at a time."""
    transcripts = await asyncio.gather(*(with_the_real_server(port, name) for name in SCENES))
    return dict(zip(SCENES, transcripts, strict=True))
