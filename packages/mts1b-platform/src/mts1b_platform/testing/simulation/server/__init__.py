"""A model of nats-server 2.15.1 with JetStream. Every fact in it is checked against the real one (``conform``)."""

from mts1b_platform.testing.simulation.server.model import NatsModel

__all__ = ["NatsModel"]
