"""How the core of each service is made."""

from collections.abc import Callable

from mts1b_desk.cores.broker import Broker
from mts1b_desk.cores.core import Core
from mts1b_desk.cores.oms import Oms
from mts1b_desk.cores.operations import Operations
from mts1b_desk.cores.research import Research
from mts1b_desk.cores.risk import Risk
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.settings import DeskSettings

CORES: dict[str, Callable[[DeskSettings], Core]] = {
    core.service: core for core in (Research, Risk, Oms, Broker, Treasury, Operations)
}
