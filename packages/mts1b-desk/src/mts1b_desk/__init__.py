"""The reference desk: one small real service per producer of MTS1B, each its own process, on the bus alone."""

__version__ = "0.1.0"
