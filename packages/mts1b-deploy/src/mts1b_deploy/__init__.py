"""mts1b-deploy."""
