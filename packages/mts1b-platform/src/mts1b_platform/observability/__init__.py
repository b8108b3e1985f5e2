"""Seeing into the bus: metrics, health, traces, audit."""

from mts1b_platform.observability.discovery import DiscoveryError
from mts1b_platform.observability.endpoint import Endpoint, EndpointError
from mts1b_platform.observability.metrics import BusMetrics
from mts1b_platform.observability.observe import Observed, observe

__all__ = ["BusMetrics", "DiscoveryError", "Endpoint", "EndpointError", "Observed", "observe"]
