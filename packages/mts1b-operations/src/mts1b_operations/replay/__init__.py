"""Recording events as they pass, and publishing recorded ones on another bus, in their order and at their pace."""
