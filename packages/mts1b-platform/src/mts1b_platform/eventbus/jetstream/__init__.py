"""The JetStream management API: streams, consumers, stored messages."""
