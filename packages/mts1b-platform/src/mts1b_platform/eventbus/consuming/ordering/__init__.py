"""Handing out the events of one key in the stream's order."""
