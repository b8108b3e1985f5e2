"""Operations: sees every refusal of the gate. Halts and who obeyed them are in their stream (`mts1b halt ls`)."""

from collections import Counter
from datetime import datetime
from typing import ClassVar

from mts1b_foundation.risk import OrderRejection
from mts1b_foundation.subjects import RISK_GATE_FAILED

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
        self.tables = (self.rejections,)
        self._recent = Recent()
        self.handlers = {RISK_GATE_FAILED: self._on_rejection}

    def book(self) -> OperationsBook:
        """Refusals by fund and rule."""
        return OperationsBook(rejections=dict(sorted(self.rejections.items())))

    def _on_rejection(self, rejection: OrderRejection, _at: datetime) -> Effects:
        if rejection.order_id not in self._recent:
            self._recent.add(rejection.order_id)
            rules = Counter(self.rejections.get(rejection.fund_id, {}))
            rules[rejection.rule.value] += 1
            self.rejections[rejection.fund_id] = dict(rules)
        return ()
