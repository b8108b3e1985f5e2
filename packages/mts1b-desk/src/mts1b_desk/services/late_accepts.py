"""After a crash of the order management: no acceptance that nobody has seen yet may follow a halt.

An order may have been accepted, and that stored here, without being published before the crash; and a halt may have
been stored by its stream meanwhile. Were the acceptance published now, it would come after the halt. So it is taken
back, unless the stream has it from before.
"""

from typing import Protocol

from mts1b_foundation.orders import OrderV2
from mts1b_foundation.subjects import OMS_ORDERS_ACCEPTED_V2
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.outbox import Outbox, Row
from mts1b_platform.eventbus.protocol.envelope import MSG_ID
from mts1b_platform.logs import get_logger

from mts1b_desk.cores.oms import Oms

log = get_logger("mts1b.desk.oms")

_STREAM = "OMS_ORDERS"
_MANY = 10_000


class Retract(Protocol):
    """Retracts one order and stores what follows."""

    async def __call__(self, order_id: str) -> None:
        """Returns when it is stored."""
        ...


async def withdraw_late_accepts(bus: EventBus, oms: Oms, waiting: Outbox, retract: Retract) -> int:
    """Take back what was accepted and not published for funds that are halted now; how many there were.

    To be called when every halt is known and before anything that waits is published.
    """
    taken_back = 0
    await waiting.open()
    for row in await waiting.pending(_MANY):
        if OMS_ORDERS_ACCEPTED_V2.parse(row.subject) is None:
            continue
        order = OrderV2.model_validate_json(row.payload)
        if order.order_id in oms.orders:
            if not oms.halted(order.fund_id) or await _stored(bus, row):
                continue
            await retract(order.order_id)
            taken_back += 1
            log.warning("acceptance taken back: a halt was stored before it was published", order=order.order_id)
        # An order that is not open was taken back before an earlier crash.
        await waiting.remove([row])
    return taken_back


async def _stored(bus: EventBus, row: Row) -> bool:
    """Whether the stream has the event: a fund has one working order at a time, so it would be the last of its kind."""
    last = await read_stored(bus, _STREAM, last_by=row.subject)
    return last is not None and last.wire.headers.get(MSG_ID) == row.msg_id
