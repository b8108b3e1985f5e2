"""Tails: events as they pass, for browsers. Pure: no clock, no socket."""
