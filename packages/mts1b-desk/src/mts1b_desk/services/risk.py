"""The risk engine's service: orders in, answers of the gate out."""

from mts1b_foundation.subjects import RISK_ENVELOPE_UPDATED
from mts1b_platform.eventbus.jetstream.durables import stream_of
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.envelope import MSG_ID

from mts1b_desk.cores.risk import Risk
from mts1b_desk.errors import DeskError
from mts1b_desk.services.core_service import CoreService


class RiskService(CoreService[Risk]):
    """Also refuses to go on with a session whose durables another one has moved on."""

    async def prepare(self) -> None:
        """Read the state, and see that no other session has begun since.

        Raises:
            DeskError: one has, and what this one had not worked by then was acknowledged for it.
        """
        await super().prepare()
        if not (self.bus.has_identities and self.keeper.resumed and self.keeper.idle):
            return
        stream = await stream_of(self.bus, (RISK_ENVELOPE_UPDATED,))
        (form,) = RISK_ENVELOPE_UPDATED.filters(fund_id=self.settings.funds[0].fund_id)
        newest = await read_stored(self.bus, stream, last_by=form)
        session = (newest.wire.headers.get(MSG_ID) or "").partition(":")[0] if newest is not None else ""
        if session not in ("", self.settings.session):
            raise DeskError(
                f"session {self.settings.session} cannot be gone on with: another session has begun on this bus since "
                f"({session}), and the durables that both read with have moved on; begin a new one in an empty --state"
            )
