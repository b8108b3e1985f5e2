"""A model of nats-server 2.15.1 with JetStream. Every fact in it is checked against the real one (``conform``)."""

from simulation.server.model import NatsModel

__all__ = ["NatsModel"]
