"""mts1b-operations."""
