"""The connection between sites: what was asked for, who dials whom, what may pass."""
