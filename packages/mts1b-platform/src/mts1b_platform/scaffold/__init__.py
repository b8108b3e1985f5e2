"""A new repo on the bus: what ``mts1b new`` writes."""

from mts1b_platform.scaffold.new_repo import NewRepo, make_repo

__all__ = ["NewRepo", "make_repo"]
