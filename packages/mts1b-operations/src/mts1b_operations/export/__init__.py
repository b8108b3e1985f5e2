"""Stored events as files: Parquet, CSV, JSON lines."""
