"""The MTS1B installer: profiles of nats-server, supervision, and the command ``mts1b-deploy``."""

__version__ = "0.1.0"
