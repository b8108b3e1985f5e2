"""What differs between an installation and what its profile promises."""

from mts1b_deploy.doctor.deviation import Deviation, Severity
from mts1b_deploy.doctor.examine import examine

__all__ = ["Deviation", "Severity", "examine"]
