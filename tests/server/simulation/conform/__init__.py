"""Scripted conversations, held with the model and with a real nats-server: both must say the same."""
