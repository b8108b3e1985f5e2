"""Operations: sees every refusal of the gate, every halt and who obeyed it."""

from collections import Counter
from datetime import datetime
from typing import ClassVar

from mts1b_foundation.operations import HaltClearance, HaltObedience, HaltRequest
from mts1b_foundation.risk import OrderRejection
from mts1b_foundation.subjects import (
    OMS_HALT_OBEYED,
    OPERATIONS_HALT_CLEARED,
    OPERATIONS_HALT_REQUESTED,
    RISK_GATE_FAILED,
)

from mts1b_desk.books import OperationsBook
from mts1b_desk.cores.core import Core, Effects
from mts1b_desk.settings import DeskSettings
from mts1b_desk.tables import Recent, Table


class Operations(Core):
    """The operations service of a desk."""

    service: ClassVar[str] = "operations"
    repo: ClassVar[str] = "mts1b-operations"

    def __init__(self, _settings: DeskSettings) -> None:
        self.rejections: Table[dict[str, int]] = Table("rejections", dict[str, int])
        self.halts: Table[HaltRequest] = Table("halts", HaltRequest)
        self.obeyed: Table[tuple[str, ...]] = Table("obeyed", tuple[str, ...])
        self.tables = (self.rejections, self.halts, self.obeyed)
        self._recent = Recent()
        self.handlers = {
            RISK_GATE_FAILED: self._on_rejection,
            OPERATIONS_HALT_REQUESTED: self._on_halt,
            OPERATIONS_HALT_CLEARED: self._on_clearance,
            OMS_HALT_OBEYED: self._on_obeyed,
        }

    def book(self) -> OperationsBook:
        """Refusals, halts in force and their obedience."""
        return OperationsBook(
            rejections=dict(sorted(self.rejections.items())),
            halts=tuple(self.halts.values()),
            obeyed={halt_id: services for halt_id, services in self.obeyed.items() if halt_id in self.halts},
        )

    def _on_rejection(self, rejection: OrderRejection, _at: datetime) -> Effects:
        if rejection.order_id not in self._recent:
            self._recent.add(rejection.order_id)
            rules = Counter(self.rejections.get(rejection.fund_id, {}))
            rules[rejection.rule.value] += 1
            self.rejections[rejection.fund_id] = dict(rules)
        return ()

    def _on_halt(self, request: HaltRequest, _at: datetime) -> Effects:
        self.halts[request.halt_id] = request
        return ()

    def _on_clearance(self, clearance: HaltClearance, _at: datetime) -> Effects:
        self.halts.pop(clearance.halt_id, None)
        self.obeyed.pop(clearance.halt_id, None)
        return ()

    def _on_obeyed(self, obedience: HaltObedience, _at: datetime) -> Effects:
        services = self.obeyed.get(obedience.halt_id, ())
        if obedience.service not in services:
            self.obeyed[obedience.halt_id] = tuple(sorted((*services, obedience.service)))
        return ()
