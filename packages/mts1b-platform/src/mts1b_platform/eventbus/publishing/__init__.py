"""Sending events: prepare, send, wait for the ack, send again."""
