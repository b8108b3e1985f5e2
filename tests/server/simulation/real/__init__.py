"""The orders of a plan beside a real nats-server: processes of the operating system, in real time."""

from simulation.real.replay import replay

__all__ = ["replay"]
