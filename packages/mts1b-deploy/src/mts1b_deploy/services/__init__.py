"""Services of this host as systemd units, each with a user and certificates of its own."""
