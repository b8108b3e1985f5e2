"""The event bus of MTS1B on NATS, and what a service needs around it."""

__version__ = "0.1.0"
