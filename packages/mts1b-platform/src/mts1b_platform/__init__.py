"""mts1b-platform."""
