"""The connection to NATS: identity, refusals, sending and receiving."""
