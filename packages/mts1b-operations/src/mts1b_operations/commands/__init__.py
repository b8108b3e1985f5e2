"""Nouns that operations adds to the ``mts1b`` command."""
