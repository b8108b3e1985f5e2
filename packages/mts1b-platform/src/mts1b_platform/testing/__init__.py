"""pytest fixtures for the services' own tests: a real nats-server, never a mock.

Loaded by pytest as a plugin; nothing to import::

    async def test_orders_are_stored(nats_server):
        nc = await nats.connect(nats_server.url)

A server comes up in about 30 ms, so every test has one of its own: no test sees another's streams. When no
nats-server can be found the test fails, with the remedy in the message; it is not skipped.
"""

import importlib.util

from mts1b_platform.testing.server import StartNatsServer, nats_server, start_nats_server
from mts1b_platform.testing.simulate import Simulate, simulate

__all__ = ["Simulate", "StartNatsServer", "nats_server", "simulate", "start_nats_server"]

# Each needs a package that a service may not have installed. pytest finds fixtures by the names of this module.
if importlib.util.find_spec("pytest_asyncio") is not None:
    from mts1b_platform.testing.bus import ConnectBus, bus, connect_bus
    from mts1b_platform.testing.service import (
        Publish,
        RunService,
        ServiceProcess,
        ServiceUnderTest,
        SpawnService,
        bus_of_test,
        publish,
        run_service,
        spawn_service,
    )

    __all__ += ["ConnectBus", "bus", "connect_bus"]
    __all__ += ["Publish", "RunService", "ServiceProcess", "ServiceUnderTest", "SpawnService"]
    __all__ += ["bus_of_test", "publish", "run_service", "spawn_service"]
if importlib.util.find_spec("psycopg") is not None:
    from mts1b_platform.testing.postgres import new_postgres_database, postgres_server, postgres_url

    __all__ += ["new_postgres_database", "postgres_server", "postgres_url"]
