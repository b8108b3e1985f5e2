"""Finding and running a real nats-server."""

from mts1b_platform.server.binary import (
    MINIMUM_VERSION,
    ServerBinary,
    ServerError,
    ServerNotFoundError,
    ServerVersionError,
    find_server,
)
from mts1b_platform.server.nats_server import NatsServer, ServerStartError
from mts1b_platform.server.probe import ServerInfo

__all__ = [
    "MINIMUM_VERSION",
    "NatsServer",
    "ServerBinary",
    "ServerError",
    "ServerInfo",
    "ServerNotFoundError",
    "ServerStartError",
    "ServerVersionError",
    "find_server",
]
