"""A deterministic simulation of the event bus: its real code on virtual time, against a model of nats-server."""
