"""Stored events: a language to ask for them, searching newest first, and writing them to files."""
