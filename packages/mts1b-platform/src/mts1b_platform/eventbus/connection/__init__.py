"""A NATS connection of our own: see :class:`~mts1b_platform.eventbus.connection.connection.Connection`."""

from mts1b_platform.eventbus.connection.connection import Connection
from mts1b_platform.eventbus.connection.network import Chance, Clock, Network, Timer, Transport, feed
from mts1b_platform.eventbus.connection.options import Callbacks, ConnectionOptions, Credentials
from mts1b_platform.eventbus.connection.servers import Server
from mts1b_platform.eventbus.connection.stats import Stats
from mts1b_platform.eventbus.connection.subscription import Subscription
from mts1b_platform.eventbus.connection.supervisor import State

__all__ = [
    "Callbacks",
    "Chance",
    "Clock",
    "Connection",
    "ConnectionOptions",
    "Credentials",
    "Network",
    "Server",
    "State",
    "Stats",
    "Subscription",
    "Timer",
    "Transport",
    "feed",
]
