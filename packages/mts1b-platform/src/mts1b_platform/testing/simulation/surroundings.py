"""What a simulated process finds around it in place of the system: network, time, chance, settings, threads, SQLite."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

from mts1b_platform import threads
from mts1b_platform.eventbus.connection import connection
from mts1b_platform.eventbus.connection.asyncio_network import AsyncioNetwork, SystemChance
from mts1b_platform.eventbus.connection.network import Chance, Network
from mts1b_platform.testing.simulation.clocks import SimChance, simulated
from mts1b_platform.testing.simulation.network import Listeners, SimNetwork
from mts1b_platform.testing.simulation.process import Process, running
from mts1b_platform.testing.simulation.settings import isolated_settings
from mts1b_platform.testing.simulation.world import World


@contextmanager
def surroundings(
    world: World, address: str, listeners: Listeners, networks: dict[Process, list[SimNetwork]]
) -> Generator[None]:
    """Whatever processes of ``world`` ask the system for is answered by it, without a word in their code.

    Args:
        world: where they live.
        address: where every connection leads, whatever the settings say.
        listeners: who takes them.
        networks: takes the network of each connection, by process.
    """

    def network() -> Network:
        process = running(world)
        if process is None:
            return AsyncioNetwork()
        made = SimNetwork(process, listeners)
        networks.setdefault(process, []).append(made)
        return made

    def chance() -> Chance:
        return SystemChance() if world.current is None else SimChance(world)

    def in_thread(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        """A simulated process has one thread."""
        process = running(world)
        if process is None:
            return real_thread(function, *arguments)
        return process.loop.run_in_executor(None, function, *arguments)

    real_thread = threads.in_thread
    with ExitStack() as stack:
        stack.enter_context(simulated(world))
        stack.enter_context(isolated_settings(servers=f"nats://{address}", connect_timeout=60.0))
        stack.enter_context(patch.object(threads, "in_thread", in_thread))
        stack.enter_context(patch.object(connection, "AsyncioNetwork", network))
        stack.enter_context(patch.object(connection, "SystemChance", chance))
        if find_spec("aiosqlite") is not None:
            from mts1b_platform.testing.simulation.sqlite import simulated_sqlite

            stack.enter_context(simulated_sqlite(world))
        yield
