"""A deterministic simulation: a service's real code and the bus's on virtual time, against a model of nats-server.

A test tool: nothing outside of ``mts1b_platform.testing`` may import it.
"""

from mts1b_platform.testing.simulation.simulated_service import SimulatedService
from mts1b_platform.testing.simulation.simulation import Simulation, Trouble

__all__ = ["SimulatedService", "Simulation", "Trouble"]
