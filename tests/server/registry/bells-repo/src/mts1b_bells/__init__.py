"""A sample repo: bells that ring."""
