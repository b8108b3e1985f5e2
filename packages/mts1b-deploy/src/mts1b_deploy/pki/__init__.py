"""Certificates of the bus: an authority of one's own, or somebody else's."""
