"""Copies of another site: its streams, and how far its durables have come."""
