"""The halts that an order management has to obey: which are in force, and what each waits for until it is obeyed."""

from collections.abc import Collection, Sequence
from datetime import datetime

from mts1b_foundation.operations import HaltObedience, HaltRequest
from mts1b_foundation.orders import OrderStatus, OrderV2
from mts1b_foundation.subjects import OMS_HALT_OBEYED

from mts1b_desk.cores.core import Effects, Emit
from mts1b_desk.cores.oms_rows import ActiveHalt
from mts1b_desk.tables import Table


class Halts:
    """Halts in force. A halt is obeyed, and that is said, when none of its orders is in the market any more.

    Args:
        repo: who obeys.
        session: whose obedience it is.
    """

    def __init__(self, repo: str, session: str) -> None:
        self.rows: Table[ActiveHalt] = Table("halts", ActiveHalt)
        self._repo = repo
        self._session = session

    def __contains__(self, halt_id: object) -> bool:
        return halt_id in self.rows

    @property
    def requests(self) -> tuple[HaltRequest, ...]:
        """Those in force."""
        return tuple(row.request for row in self.rows.values())

    def of(self, fund_id: str) -> HaltRequest | None:
        """A halt of the fund, or of all."""
        return next((request for request in self.requests if request.fund_id in (None, fund_id)), None)

    def begin(self, request: HaltRequest) -> None:
        """The halt is in force."""
        self.rows[request.halt_id] = ActiveHalt(request=request)

    def wait_for(self, request: HaltRequest, withdrawing: Collection[str], *, rejected: int, at: datetime) -> Effects:
        """Its orders that are in the market are being withdrawn; so many that waited for risk were rejected."""
        row = ActiveHalt(request=request, withdrawing=frozenset(withdrawing), canceled=rejected)
        self.rows[request.halt_id] = row
        return self._obey(row, at)

    def left(self, order: OrderV2, at: datetime) -> Effects:
        """``order`` is final."""
        effects: list[Emit] = []
        for halt_id, halt in tuple(self.rows.items()):
            if order.order_id in halt.withdrawing:
                canceled = halt.canceled + (order.status is OrderStatus.CANCELED)
                rest = halt.withdrawing - {order.order_id}
                row = ActiveHalt(request=halt.request, withdrawing=rest, canceled=canceled)
                self.rows[halt_id] = row
                effects += self._obey(row, at)
        return effects

    def end(self, halt_id: str) -> None:
        """The halt is cleared."""
        del self.rows[halt_id]

    def _obey(self, halt: ActiveHalt, at: datetime) -> Sequence[Emit]:
        if halt.withdrawing:
            return ()
        halt_id = halt.request.halt_id
        obedience = HaltObedience(halt_id=halt_id, service=self._repo, canceled_orders=halt.canceled, obeyed_at=at)
        return (Emit(OMS_HALT_OBEYED, obedience, f"{halt_id}:{self._repo}:{self._session}"),)


def words_of(request: HaltRequest) -> str:
    """Why a halted fund's order is rejected."""
    scope = "all funds are" if request.fund_id is None else f"fund {request.fund_id} is"
    return f"halted: {scope} halted by {request.actor} ({request.halt_id}): {request.reason}"[:2000]
