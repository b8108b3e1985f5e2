"""Keeping the server running: a systemd user unit where there is one, else a detached supervisor process."""
