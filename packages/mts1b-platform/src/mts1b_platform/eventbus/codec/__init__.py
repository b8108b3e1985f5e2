"""Payloads and envelopes: typed events to bytes and back. No I/O."""
