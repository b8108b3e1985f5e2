"""Running the bus: lag, dead letters, halts, alerts, and what people may look at and do."""

__version__ = "0.1.0"
