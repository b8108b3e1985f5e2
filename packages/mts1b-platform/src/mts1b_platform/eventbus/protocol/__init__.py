"""The NATS and JetStream protocols in bytes. No I/O, no asyncio."""
