"""mts1b-desk."""
