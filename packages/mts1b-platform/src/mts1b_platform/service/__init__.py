"""Running a service on the bus: handlers, signals, health and an orderly end."""

from mts1b_platform.service.running import Runner
from mts1b_platform.service.service import CUT_SHORT, DRAINED, FAILED, Service

__all__ = ["CUT_SHORT", "DRAINED", "FAILED", "Runner", "Service"]
