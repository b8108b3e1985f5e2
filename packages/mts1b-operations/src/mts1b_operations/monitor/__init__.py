"""The monitor: surveys the server every few seconds, raises alerts and clears them."""

from mts1b_operations.monitor.service import Monitor
from mts1b_operations.monitor.settings import MonitorSettings

__all__ = ["Monitor", "MonitorSettings"]
