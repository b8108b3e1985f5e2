"""The story of an order, a trace, a halt: its events over all streams, who has handled them, what is missing."""
