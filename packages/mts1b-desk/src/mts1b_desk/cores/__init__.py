"""The services as pure state machines: an event goes in, events come out; no clock, no randomness, no I/O."""
